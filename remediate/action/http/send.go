package http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

// unsure is an error after which nobody knows whether the request took effect.
type unsure struct{ error }

func (u unsure) Unwrap() error { return u.error }

// send sends a request once and returns what was answered, for people. An error
// is unsure unless the request did not go out, or was refused with a 4xx.
func send(ctx context.Context, r Request, p Params, key string) (said string, err error) {
	timeout, err := p.timeout()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	var out atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { out.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, r.method(), r.URL, strings.NewReader(r.Body))
	if err != nil {
		return "", fmt.Errorf("%s: %w", r, reason(err))
	}
	secrets, err := r.head(req.Header)
	if err != nil {
		return "", err
	}
	req.Header.Set("Idempotency-Key", key)
	client, err := newClient(p.CAFile)
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		err = fmt.Errorf("%s: %s", r, clean(reason(err).Error(), secrets))
		if ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", r, context.Cause(ctx))
		}
		if out.Load() {
			err = unsure{fmt.Errorf("%w; it was sent, and may have taken effect", err)}
		}
		return "", err
	}
	defer resp.Body.Close()
	// What comes later than the status, or not at all, changes nothing about it.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	said = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if text := strings.TrimSpace(clean(string(body), secrets)); text != "" {
		said += ": " + text
	}
	switch {
	case r.expected(resp.StatusCode):
		return said, nil
	case resp.StatusCode >= 400 && resp.StatusCode < 500:
		return "", fmt.Errorf("%s was refused with %s", r, said)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		said += "; redirects are not followed"
	}
	return "", unsure{fmt.Errorf("%s was answered with %s; it may have taken effect", r, said)}
}

// head sets the headers and returns the secrets among their values.
func (r Request) head(h http.Header) (secrets []string, err error) {
	if r.Body != "" && r.json() {
		h.Set("Content-Type", "application/json")
	}
	h.Set("User-Agent", "kmend")
	for name, v := range r.Headers {
		value := v.Value
		if v.ValueFile != "" {
			if value, err = secret(v.ValueFile); err != nil {
				return nil, fmt.Errorf("headers.%s.valueFile: %w", name, err)
			}
			secrets = append(secrets, value)
			// "Bearer X": the word in front is no secret, the rest alone is one.
			if _, rest, ok := strings.Cut(value, " "); ok {
				secrets = append(secrets, rest)
			}
		}
		h.Set(name, value)
	}
	return secrets, nil
}

// secret reads a header's value. It is read for every request, so that a new one
// counts at once.
func secret(path string) (string, error) {
	b, err := readFile(path)
	if err != nil {
		return "", err
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" || strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%s is empty, or has more than one line", path)
	}
	return s, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = fmt.Errorf("%s has more than %d bytes", path, maxBody)
	}
	return b, err
}

// newClient makes a client for one request. A connection of its own: one that is
// used again may break, and then the library would send the request again. It
// follows no redirects: only the runbook says who is asked.
func newClient(ca string) (*http.Client, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		b, err := readFile(ca)
		if err != nil {
			return nil, fmt.Errorf("with.caFile: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("with.caFile: %s holds no PEM certificate", ca)
		}
	}
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c, DisableKeepAlives: true,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: maxBody},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// reason is an error of the client without the URL, whose query may be secret.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// clean makes what the other side said fit to be shown: short, printable and
// without the secrets, which it knows and might send back.
func clean(s string, secrets []string) string {
	for _, one := range secrets {
		s = strings.ReplaceAll(s, one, "***")
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "..."
	}
	return s
}
