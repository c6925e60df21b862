package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// socket is one connection of Socket Mode.
type socket struct {
	mu   sync.Mutex // of writing
	conn *websocket.Conn
	acks chan string
	done chan struct{}
	stop sync.Once
}

func (c *socket) close() { c.stop.Do(func() { close(c.done); c.conn.Close() }) }

func (c *socket) write(v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.WriteJSON(v)
}

// connection is apps.connections.open.
func (s *Server) connection(map[string]string) any {
	return map[string]any{"ok": true, "url": strings.Replace(s.URL, "http://", "ws://", 1) + "/link?ticket=secret-ticket"}
}

func (s *Server) link(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("ticket") != "secret-ticket" {
		http.Error(w, "no ticket", http.StatusForbidden)
		return
	}
	conn, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &socket{conn: conn, acks: make(chan string, 16), done: make(chan struct{})}
	defer c.close()
	if c.write(map[string]any{"type": "hello", "num_connections": 1, "connection_info": map[string]any{"app_id": "A0TEST"}}) != nil {
		return
	}
	s.mu.Lock()
	s.sockets = append(s.sockets, c)
	s.mu.Unlock()
	go c.ping()
	for {
		var ack struct {
			EnvelopeID string `json:"envelope_id"`
		}
		if err := conn.ReadJSON(&ack); err != nil {
			return
		}
		c.acks <- ack.EnvelopeID
	}
}

// ping does what Slack does; a client that hears none gives up.
func (c *socket) ping() {
	for {
		select {
		case <-time.After(time.Second):
			if c.conn.WriteControl(websocket.PingMessage, []byte("ping"), time.Now().Add(time.Second)) != nil {
				return
			}
		case <-c.done:
			return
		}
	}
}

// Connected reports whether a client holds a connection.
func (s *Server) Connected() bool { return s.newest() != nil }

// Disconnect tells the client to connect anew, as Slack does every few hours.
func (s *Server) Disconnect() error {
	c := s.newest()
	if c == nil {
		return errors.New("nobody is connected")
	}
	s.mu.Lock()
	s.sockets = slices.DeleteFunc(s.sockets, func(o *socket) bool { return o == c })
	s.mu.Unlock()
	return c.write(map[string]any{"type": "disconnect", "reason": "refresh_requested"})
}

func (s *Server) newest() *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sockets) == 0 {
		return nil
	}
	return s.sockets[len(s.sockets)-1]
}

// ClickSocket clicks over the WebSocket and waits for the acknowledgement.
func (s *Server) ClickSocket(m Message, action, user string) error {
	c := s.newest()
	if c == nil {
		return errors.New("nobody is connected")
	}
	payload := s.Interaction(m, action, user)
	id := fmt.Sprintf("envelope-%d", time.Now().UnixNano())
	if err := c.write(map[string]any{"type": "interactive", "envelope_id": id, "accepts_response_payload": true, "payload": json.RawMessage(payload)}); err != nil {
		return err
	}
	select {
	case got := <-c.acks:
		if got != id {
			return fmt.Errorf("acknowledged %q, want %q", got, id)
		}
		return nil
	case <-time.After(3 * time.Second):
		return errors.New("not acknowledged within 3 seconds")
	}
}
