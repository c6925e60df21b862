package slack

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Buttons are the action ids of a message's buttons with their values, in order.
func (m Message) Buttons() (ids []string, values map[string]string) {
	var blocks []block
	values = map[string]string{}
	if json.Unmarshal(m.Blocks, &blocks) != nil {
		return nil, values
	}
	for _, b := range blocks {
		var elements []button
		if b.Type != "actions" || json.Unmarshal(b.Elements, &elements) != nil {
			continue
		}
		for _, e := range elements {
			ids = append(ids, e.ActionID)
			values[e.ActionID] = e.Value
		}
	}
	return ids, values
}

// Says is everything that a person reads in blocks, unescaped.
func Says(blocks json.RawMessage) string {
	var list []block
	if json.Unmarshal(blocks, &list) != nil {
		return ""
	}
	var out []string
	for _, b := range list {
		if b.Text != nil {
			out = append(out, b.Text.Text)
		}
		var elements []textObject
		if b.Type == "context" && json.Unmarshal(b.Elements, &elements) == nil {
			for _, e := range elements {
				out = append(out, e.Text)
			}
		}
	}
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(strings.Join(out, "\n"))
}

// Interaction is the JSON of a click on a button of m.
func (s *Server) Interaction(m Message, action, user string) []byte {
	_, values := m.Buttons()
	s.mu.Lock()
	s.number++
	hook := fmt.Sprintf("/actions/T0TEST/%d/secret", s.number)
	s.hooks[hook] = user
	n := s.number
	s.mu.Unlock()
	b, err := json.Marshal(map[string]any{
		"type": "block_actions", "team": map[string]any{"id": "T0TEST", "domain": "test"}, "api_app_id": "A0TEST",
		"user":         map[string]any{"id": user, "username": strings.ToLower(user), "name": strings.ToLower(user), "team_id": "T0TEST"},
		"container":    map[string]any{"type": "message", "message_ts": m.TS, "channel_id": m.Channel, "is_ephemeral": false},
		"trigger_id":   fmt.Sprintf("%d.0.x", n),
		"channel":      map[string]any{"id": m.Channel, "name": "kmend"},
		"message":      map[string]any{"type": "message", "ts": m.TS, "text": m.Text, "blocks": m.Blocks},
		"response_url": s.URL + hook,
		"actions": []any{map[string]any{"type": "button", "action_id": action, "block_id": "kmend", "value": values[action],
			"text": map[string]any{"type": "plain_text", "text": action}, "action_ts": strconv.Itoa(n)}},
	})
	if err != nil {
		panic(err) // maps and strings only
	}
	return b
}

// Click clicks on a button and returns the status of kmend's answer. More than
// three seconds are an error, as they are for Slack.
func (s *Server) Click(ctx context.Context, m Message, action, user string) (int, error) {
	return s.Send(ctx, Form(s.Interaction(m, action, user)), nil)
}

// Form is a body as Slack sends it.
func Form(interaction []byte) []byte {
	return []byte(url.Values{"payload": {string(interaction)}}.Encode())
}

// Sign is Slack's signature of a body.
func Sign(secret string, at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(h, "v0:%s:%s", timestamp, body)
	return timestamp, "v0=" + hex.EncodeToString(h.Sum(nil))
}

// Send signs a body and sends it to the interactivity URL; change, when there is
// one, may spoil it.
func (s *Server) Send(ctx context.Context, body []byte, change func(*http.Request)) (int, error) {
	s.mu.Lock()
	to := s.o.InteractivityURL
	s.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Second, errors.New("Slack waits 3 seconds"))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ts, sig := Sign(SigningSecret, time.Now(), body)
	req.Header.Set("X-Slack-Request-Timestamp", ts)
	req.Header.Set("X-Slack-Signature", sig)
	if change != nil {
		change(req)
	}
	resp, err := s.http.Client().Do(req)
	if err != nil {
		return 0, fmt.Errorf("clicking: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// hook is a response_url.
func (s *Server) hook(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ResponseType    string          `json:"response_type"`
		ReplaceOriginal bool            `json:"replace_original"`
		Text            string          `json:"text"`
		Blocks          json.RawMessage `json:"blocks"`
	}
	err := json.NewDecoder(r.Body).Decode(&body)
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok := s.hooks[r.URL.Path]
	switch {
	case !ok:
		http.Error(w, "expired_url", http.StatusNotFound)
		return
	case err != nil || r.Header.Get("Content-Type") != "application/json":
		http.Error(w, "invalid_payload", http.StatusBadRequest)
		return
	case body.ResponseType != "ephemeral" || body.ReplaceOriginal:
		s.problem("the reply to a click is for everybody")
	}
	if len(body.Blocks) > 0 {
		if err := CheckBlocks(body.Blocks); err != nil {
			s.problem("blocks of a reply: %v", err)
			http.Error(w, "invalid_blocks", http.StatusBadRequest)
			return
		}
	}
	if markup.MatchString(body.Text) {
		s.problem("the reply has markup: %q", body.Text)
	}
	s.ephemerals = append(s.ephemerals, Ephemeral{user, body.Text, body.Blocks})
	fmt.Fprint(w, "ok")
}
