package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/kmend/kmend/internal/secret"
)

// remote is how the commands that ask a server find it.
type remote struct {
	Server    string        `env:"KMEND_SERVER" default:"http://127.0.0.1:9790" placeholder:"URL" help:"The server (${default})."`
	TokenFile string        `type:"path" env:"KMEND_TOKEN_FILE" placeholder:"FILE" help:"File of the token that the server asks for."`
	Timeout   time.Duration `default:"15s" help:"How long to wait for an answer (${default})."`
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 256 << 20

// Validate is bad usage.
func (r remote) Validate() error {
	u, err := url.Parse(r.Server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("--server (or KMEND_SERVER) is %q; want http://HOST:PORT or https://HOST:PORT", r.Server)
	}
	if r.Timeout <= 0 {
		return fmt.Errorf("--timeout is %s; want more than 0s", r.Timeout)
	}
	return nil
}

// get reads path into v.
func (r remote) get(ctx context.Context, path string, v any) error {
	return r.call(ctx, http.MethodGet, path, nil, v)
}

// call sends body, if there is one, and reads the answer into v.
func (r remote) call(ctx context.Context, method, path string, body, v any) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	req, err := r.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r.unreachable(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return r.unreachable(err)
	}
	if resp.StatusCode >= 300 {
		return r.refused(resp.StatusCode, raw)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("reading the answer of %s: %w; is it a kmend server?", r.Server, err)
	}
	return nil
}

func (r remote) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(r.Server, "/")+path, content)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.TokenFile != "" {
		f, err := secret.Open(r.TokenFile)
		if err != nil {
			return nil, err
		}
		token, err := f.Value()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

// unreachable says how to name the server.
func (r remote) unreachable(err error) error {
	what := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		what = u.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		what = fmt.Errorf("no answer within %s", r.Timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		what = errors.New("nothing listens there")
	}
	return fmt.Errorf("asking %s: %w; is `kmend serve` running? Name another server with --server URL or KMEND_SERVER", r.Server, what)
}

// refused is the server's own word.
func (r remote) refused(status int, raw []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(raw, &said) != nil || said.Error == "" {
		said.Error = "an answer without a reason; is it a kmend server?"
	}
	return fmt.Errorf("%s answers %d: %s", r.Server, status, printable(said.Error))
}

// printable keeps what a terminal could obey out of a message.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return '\uFFFD'
		}
		return c
	}, s)
}
