package slack

import (
	"crypto/sha256"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"github.com/kmend/kmend/internal/secret"
)

// maxBody bounds the body of a call: Slack sends the whole message back, encoded.
const maxBody = 1 << 20

// young is how long Slack's signature counts, and so how long a call could come
// again. A clock that is ahead counts as much as one that is behind.
const young = 5 * time.Minute

// handler answers Slack's interactivity request URL.
type handler struct {
	secret *secret.File
	clicks *Clicks
	seen   *seen
}

// NewHandler makes the handler of the interactivity request URL. secretFile holds
// the app's signing secret.
//
//	200  taken, or none of our buttons; what came of it the clicker is told
//	400  signed, and malformed
//	401  no signature of Slack's, an old one, or one that was here before
//	405  not POST
//	413  the body is over its bound
//	415  not a form
//	503  too many clicks wait, or the signing secret cannot be read
func NewHandler(secretFile string, clicks *Clicks) (http.Handler, error) {
	f, err := secret.Open(secretFile)
	if err != nil {
		return nil, err
	}
	return &handler{f, clicks, &seen{by: map[[32]byte]time.Time{}}}, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, result, err := h.take(w, r)
	h.clicks.opts.Metrics.count(result)
	if err != nil {
		h.clicks.opts.Logger.Warn("call for Slack refused", "status", status, "remote", r.RemoteAddr, "reason", err)
	}
	w.WriteHeader(status)
}

func (h *handler) take(w http.ResponseWriter, r *http.Request) (status int, result string, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, resultMalformed, errors.New("not POST")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return http.StatusRequestEntityTooLarge, resultMalformed, err
		}
		return http.StatusBadRequest, resultMalformed, errors.New("the body ended early")
	}
	key, err := h.secret.Value()
	if err != nil {
		return http.StatusServiceUnavailable, resultUnavailable, err
	}
	if err := signed(r.Header, body, key); err != nil {
		return http.StatusUnauthorized, resultForged, err
	}
	if !h.seen.first(sha256.Sum256([]byte(r.Header.Get("X-Slack-Request-Timestamp")+" "+string(body))), time.Now()) {
		return http.StatusUnauthorized, resultReplayed, errors.New("this very call was here before")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return http.StatusUnsupportedMediaType, resultMalformed, errors.New("not a form")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["payload"]) != 1 {
		return http.StatusBadRequest, resultMalformed, errors.New("the form has not one payload")
	}
	c, err := ParseClick([]byte(form.Get("payload")))
	switch {
	case errors.Is(err, errOther):
		return http.StatusOK, resultOther, nil
	case err != nil:
		return http.StatusBadRequest, resultMalformed, err
	case !h.clicks.Take(c):
		return http.StatusServiceUnavailable, resultFull, errors.New("too many clicks wait")
	}
	return http.StatusOK, resultTaken, nil
}

// signed makes sure that Slack signed the body, within the time that counts.
func signed(h http.Header, body []byte, key string) error {
	v, err := slack.NewSecretsVerifier(h, key) // looks at the time, too
	if err != nil {
		return errors.New("no signature, or one that is malformed or too old")
	}
	if _, err := v.Write(body); err != nil {
		return err
	}
	if v.Ensure() != nil {
		return errors.New("the signature is not Slack's")
	}
	return nil
}

// seen remembers signed calls for as long as their signature counts. What is
// remembered is what is signed, not the signature's own spelling. Only Slack can
// make it grow, and after a restart the store still takes an answer only once.
type seen struct {
	mu sync.Mutex
	by map[[32]byte]time.Time
}

func (s *seen) first(call [32]byte, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, at := range s.by {
		if now.Sub(at) > 2*young { // twice: Slack's clock may be ahead
			delete(s.by, c)
		}
	}
	if _, there := s.by[call]; there {
		return false
	}
	s.by[call] = now
	return true
}
