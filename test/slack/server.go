package slack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tokens and the secret of the app that the stand-in knows.
const (
	BotToken      = "xoxb-111-test-bot"
	AppToken      = "xapp-1-test-app"
	SigningSecret = "8f742231b10e8888abcd99yyyzzz85a5"
	Channel       = "C0TEST001" // #kmend
	OtherChannel  = "C0TEST002" // #shop
)

// Options of a Server.
type Options struct {
	// Interval is the least time between two messages in the channel; sooner is
	// 429. 0: no limit.
	Interval time.Duration
	// InteractivityURL is where clicks go; it may be set later with Serve.
	InteractivityURL string
	Groups           map[string][]string // members of user groups
	NoFiles          bool                // the app has not the scope files:write
	Scopes           string              // of the bot token; "": all that kmend can use, but files:write with NoFiles
}

// Message is a message as everybody in the channel sees it.
type Message struct {
	Channel string // its id
	TS      string
	Text    string
	Blocks  json.RawMessage
	Edits   int
	// Replies are the texts in its thread that are shown in the channel, too, Thread
	// those that are not.
	Replies, Thread []string
	Files           []File // in its thread
}

// Ephemeral is what one person only was told.
type Ephemeral struct {
	User   string
	Text   string
	Blocks json.RawMessage
}

// Server is the stand-in.
type Server struct {
	URL string

	http       *httptest.Server
	mu         sync.Mutex
	o          Options
	messages   []*Message
	ephemerals []Ephemeral
	hooks      map[string]string // path of a response_url: the user it is for
	last       time.Time
	broken     func(method string) (status int, body string) // see Break
	calls      map[string]int
	limited    int
	problems   []string
	sockets    []*socket
	number     int
	uploads    map[string]*File // by id, those that are not shared yet
}

// Start starts the stand-in; Close ends it.
func Start(o Options) *Server {
	s := &Server{o: o, hooks: map[string]string{}, calls: map[string]int{}, uploads: map[string]*File{}}
	mux := http.NewServeMux()
	for name, m := range map[string]func(map[string]string) any{
		"chat.postMessage": s.post, "chat.update": s.update, "usergroups.users.list": s.members,
		"files.getUploadURLExternal": s.uploadURL, "files.completeUploadExternal": s.share,
	} {
		mux.HandleFunc("POST /api/"+name, s.method(name, BotToken, m))
	}
	mux.HandleFunc("POST /api/auth.test", s.saysScopes(s.method("auth.test", BotToken, s.whoami)))
	mux.HandleFunc("POST /api/apps.connections.open", s.method("apps.connections.open", AppToken, s.connection))
	mux.HandleFunc("POST /actions/", s.hook)
	mux.HandleFunc("POST /upload/v1/{id}", s.upload)
	mux.HandleFunc("GET /link", s.link)
	s.http = httptest.NewServer(mux)
	s.URL = s.http.URL
	return s
}

// Close ends it.
func (s *Server) Close() {
	s.mu.Lock()
	for _, c := range s.sockets {
		c.close()
	}
	s.mu.Unlock()
	s.http.Close()
}

// APIURL is for kmend's configuration.
func (s *Server) APIURL() string { return s.URL + "/api/" }

// HooksURL is where every response_url is.
func (s *Server) HooksURL() string { return s.URL + "/actions/" }

// Serve says where clicks go.
func (s *Server) Serve(interactivityURL string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.InteractivityURL = interactivityURL
}

// Group says who is in a user group from now on.
func (s *Server) Group(id string, users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.Groups == nil {
		s.o.Groups = map[string][]string{}
	}
	s.o.Groups[id] = users
}

// Break has every call answered by f until it is nil; a status of 0 is no change.
func (s *Server) Break(f func(method string) (status int, body string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = f
}

// Messages are those of the channel, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Message
	for _, m := range s.messages {
		out = append(out, *m)
	}
	return out
}

// Ephemerals are what single persons were told, oldest first.
func (s *Server) Ephemerals() []Ephemeral {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Ephemeral(nil), s.ephemerals...)
}

// Calls counts the calls of a method, Limited those that came too soon.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Limited counts the calls that were answered with 429.
func (s *Server) Limited() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limited
}

// Problems are what Slack would have refused, or a client of it must not do.
func (s *Server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.problems...)
}

func (s *Server) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// Delete removes a message, as a person in the channel could.
func (s *Server) Delete(ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range s.messages {
		if m.TS == ts {
			s.messages = append(s.messages[:i:i], s.messages[i+1:]...)
			return
		}
	}
}

func refuse(code string) any { return map[string]any{"ok": false, "error": code} }

// method is one method of the Web API: form in, JSON out.
func (s *Server) method(name, token string, do func(map[string]string) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		args, err := arguments(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls[name]++
		w.Header().Set("Content-Type", "application/json")
		if s.broken != nil {
			if status, body := s.broken(name); status != 0 {
				w.WriteHeader(status)
				fmt.Fprint(w, body)
				return
			}
		}
		given := args["token"]
		if h, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			given = h
		}
		switch {
		case err != nil:
			_ = json.NewEncoder(w).Encode(refuse("invalid_arguments"))
			return
		case given == "":
			_ = json.NewEncoder(w).Encode(refuse("not_authed"))
			return
		case given != token:
			_ = json.NewEncoder(w).Encode(refuse("invalid_auth"))
			return
		}
		if strings.HasPrefix(name, "chat.") && s.tooSoon(w) {
			return
		}
		_ = json.NewEncoder(w).Encode(do(args))
	}
}

// tooSoon holds the rate of the channel.
func (s *Server) tooSoon(w http.ResponseWriter) bool {
	left := s.o.Interval - time.Since(s.last)
	if s.o.Interval == 0 || left <= 0 {
		s.last = time.Now()
		return false
	}
	s.limited++
	w.Header().Set("Retry-After", strconv.Itoa(int(left.Seconds())+1))
	w.WriteHeader(http.StatusTooManyRequests)
	_ = json.NewEncoder(w).Encode(refuse("ratelimited"))
	return true
}

func arguments(r *http.Request) (map[string]string, error) {
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for k := range r.PostForm {
		out[k] = r.PostForm.Get(k)
	}
	return out, nil
}

// channel is the id of one, "" when there is none of that name.
func (s *Server) channel(name string) string {
	for id, called := range map[string]string{Channel: "#kmend", OtherChannel: "#shop"} {
		if name == id || name == called {
			return id
		}
	}
	return ""
}

func (s *Server) post(args map[string]string) any {
	channel := s.channel(args["channel"])
	if channel == "" {
		return refuse("channel_not_found")
	}
	if code := s.check(args); code != "" {
		return refuse(code)
	}
	if ts := args["thread_ts"]; ts != "" {
		at := slices.IndexFunc(s.messages, func(m *Message) bool { return m.TS == ts })
		if at < 0 {
			return refuse("thread_not_found")
		}
		s.number++
		if args["reply_broadcast"] == "true" {
			s.messages[at].Replies = append(s.messages[at].Replies, args["text"])
		} else {
			s.messages[at].Thread = append(s.messages[at].Thread, args["text"])
		}
		return map[string]any{"ok": true, "channel": channel, "ts": fmt.Sprintf("1790000000.%06d", s.number)}
	}
	s.number++
	m := &Message{Channel: channel, TS: fmt.Sprintf("1790000000.%06d", s.number), Text: args["text"], Blocks: json.RawMessage(args["blocks"])}
	s.messages = append(s.messages, m)
	return map[string]any{"ok": true, "channel": channel, "ts": m.TS}
}

func (s *Server) update(args map[string]string) any {
	if s.channel(args["channel"]) == "" || args["channel"][0] == '#' {
		return refuse("channel_not_found") // chat.update takes ids only
	}
	if code := s.check(args); code != "" {
		return refuse(code)
	}
	for _, m := range s.messages {
		if m.TS == args["ts"] && m.Channel == args["channel"] {
			m.Text, m.Blocks = args["text"], json.RawMessage(args["blocks"])
			m.Edits++
			return map[string]any{"ok": true, "channel": m.Channel, "ts": m.TS, "text": m.Text}
		}
	}
	return refuse("message_not_found")
}

func (s *Server) members(args map[string]string) any {
	users, ok := s.o.Groups[args["usergroup"]]
	if !ok {
		return refuse("no_such_subteam")
	}
	return map[string]any{"ok": true, "users": users}
}

// saysScopes says in each answer which scopes the token has, as Slack does.
func (s *Server) saysScopes(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scopes := "chat:write,usergroups:read,files:write"
		switch {
		case s.o.Scopes != "":
			scopes = s.o.Scopes
		case s.o.NoFiles:
			scopes = "chat:write,usergroups:read"
		}
		w.Header().Set("X-OAuth-Scopes", scopes)
		next(w, r)
	}
}

func (s *Server) whoami(map[string]string) any {
	return map[string]any{"ok": true, "url": "https://example.slack.com/", "team": "Example", "user": "kmend", "team_id": "T0TEST", "user_id": "U0KMEND", "bot_id": "B0KMEND"}
}
