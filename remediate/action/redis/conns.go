package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	client "github.com/redis/go-redis/v9"
)

// patience is how long a connection or an answer may take. A server that needs
// longer is not one to make master.
const patience = 3 * time.Second

// login is who kmend is at a server.
type login struct {
	username, password string
	tls                *tls.Config
}

// conns are connections to servers that share a login, by address. They are made
// when they are needed and closed at the end of a call of the action.
type conns struct {
	login
	mu   sync.Mutex
	open map[string]*client.Client
}

func newConns(l login) *conns { return &conns{login: l, open: map[string]*client.Client{}} }

func (c *conns) at(addr string) *client.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[addr] == nil {
		c.open[addr] = client.NewClient(&client.Options{
			Addr: addr, Username: c.username, Password: c.password, TLSConfig: c.tls.Clone(),
			// Never twice by itself: a command that was lost may have been carried out.
			MaxRetries: -1, DialerRetries: 1,
			DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, ContextTimeoutEnabled: true,
			Protocol: 2, DisableIdentity: true, PoolSize: 2,
		})
	}
	return c.open[addr]
}

func (c *conns) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cl := range c.open {
		cl.Close()
	}
}

// refusal is an answer of the server: it got the command and did not do it.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

// ask sends one command. An error names the server and what was asked; what the
// server said is in it, made fit to be shown.
func (c *conns) ask(ctx context.Context, addr string, words ...string) (any, error) {
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	v, err := c.at(addr).Do(ctx, args...).Result()
	if err == nil {
		return v, nil
	}
	what := words[0]
	if len(words) > 1 {
		what += " " + words[1]
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s at %s: %w", what, addr, context.Cause(ctx))
	}
	text := clean(err.Error(), c.password)
	if _, said := errors.AsType[client.Error](err); said {
		return nil, fmt.Errorf("%s at %s: %w", what, addr, refusal{text})
	}
	return nil, fmt.Errorf("%s at %s: %s", what, addr, text)
}

// text is ask for a command that answers with one text.
func (c *conns) text(ctx context.Context, addr string, words ...string) (string, error) {
	v, err := c.ask(ctx, addr, words...)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s at %s: the answer is %T, want a text", words[0], addr, v)
	}
	return s, nil
}

// each calls f for every index at once and returns when all have ended.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
