package llm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/kmend/kmend/internal/secret"
)

// maxResponse bounds the bytes of an HTTP response, headers and body each.
const maxResponse = 64 << 10

// Endpoint is how a provider's API is reached.
type Endpoint struct {
	URL         string   // of the API, without the path of a call: https, or http on the loopback
	KeyFile     string   // holds the API key; read anew for each call
	Model       string   // as the provider names it
	Temperature *float64 // nil leaves it to the model; many newer ones refuse to be told
}

// caller calls an endpoint.
type caller struct {
	Endpoint
	file *secret.File // nil: no key
	http *http.Client
}

// newCaller checks an endpoint and opens its key, if it has one. A call has a
// connection of its own, so nothing has to be closed.
func newCaller(e Endpoint, hottest float64) (caller, error) {
	const want = "want https://HOST[:PORT][/PATH] without user or query; http is for a model on the loopback, as http://127.0.0.1:PORT"
	u, err := url.Parse(e.URL)
	if err != nil {
		return caller{}, errors.New("url is not a URL; " + want)
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return caller{}, fmt.Errorf("url begins with %q; %s", u.Scheme+"://"+u.Host, want) // the rest of it may be secret
	}
	if e.Model == "" {
		return caller{}, errors.New("model is empty; name one as the provider does")
	}
	if t := e.Temperature; t != nil && !(*t >= 0 && *t <= hottest) {
		return caller{}, fmt.Errorf("temperature is %v; want a number from 0 to %v, or leave it out", *t, hottest)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives, t.MaxResponseHeaderBytes = true, maxResponse
	c := caller{Endpoint: e, http: &http.Client{Transport: bounded{t}, CheckRedirect: stay}}
	if e.KeyFile != "" {
		if c.file, err = secret.Open(e.KeyFile); err != nil {
			return caller{}, fmt.Errorf("keyFile: %w", err)
		}
	}
	return c, nil
}

// provider is a Model behind an API.
type provider struct {
	caller
	ask    func(ctx context.Context, key string, p Prompt) (Completion, error)
	vendor string // of the provider, as the GenAI conventions have it
}

// Names are for traces.
func (m provider) Names() (provider, model string, temperature *float64) {
	return m.vendor, m.Model, m.Temperature
}

// Complete asks once. Where an answer was refused or cut, the Completion says
// what it took all the same.
func (m provider) Complete(ctx context.Context, p Prompt) (done Completion, err error) {
	key := ""
	if m.file != nil {
		if key, err = m.file.Value(); err != nil {
			return done, err
		}
	}
	if done, err = m.ask(ctx, key, p); err != nil {
		return done, m.failed(key, err)
	}
	return done, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// stay follows no redirect: the key and the facts go to the configured host alone.
func stay(r *http.Request, _ []*http.Request) error {
	return fmt.Errorf("%w: it redirects to host %q, which is not followed; if that is right, set url to it", ErrRefused, cut(r.URL.Host, 100))
}

// bounded ends bodies at maxResponse, with an *http.MaxBytesError.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxResponse)
	}
	return resp, err
}

// refusal is the error for a status that is none of success. said are words of
// the provider; what is more than a word may repeat the prompt and is left out.
func refusal(status int, said ...string) error {
	kind := errors.New("the model's provider is in trouble")
	switch {
	case status == http.StatusTooManyRequests, status == 529: // 529: Anthropic is overloaded
		kind = ErrLimited
	case status == http.StatusRequestTimeout, status == http.StatusConflict:
	case status >= 400 && status < 500:
		kind = ErrRefused
	}
	text := ""
	for _, s := range said {
		if word.MatchString(s) {
			text += " " + s
		}
	}
	return fmt.Errorf("%w: it answers %d%s", kind, status, text)
}

var word = regexp.MustCompile(`^[\w.:/\[\]-]{1,100}$`)

// A cut answer and one that is not given.
func errCut(limit int) error {
	return fmt.Errorf("the model's answer did not fit into %d tokens; allow it more", limit)
}

func errStopped(reason string) error {
	if !word.MatchString(reason) {
		reason = "for no known reason"
	}
	return fmt.Errorf("the model stopped before the end of its answer: %s", reason)
}

// failed is the error of a call: without the URL, and without the key, which the
// other side knows and might send back.
func (c caller) failed(key string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		err = fmt.Errorf("its answer has more than %d bytes", maxResponse)
	}
	text := fmt.Sprintf("asking model %s: %v", c.Model, err)
	if key != "" {
		text = strings.ReplaceAll(text, key, "[secret]")
	}
	return failure{text, err}
}

// failure is an error in other words.
type failure struct {
	text string
	err  error
}

func (f failure) Error() string { return f.text }
func (f failure) Unwrap() error { return f.err }

// name is which model answered, where the provider says so in a word.
func (c caller) name(said string) string {
	if word.MatchString(said) {
		return said
	}
	return c.Model
}

// newUsage believes no provider that says less than nothing, or what nobody could
// pay: somebody counts with it.
func newUsage(input, cached, output int64) Usage {
	sane := func(n int64) int { return int(min(max(n, 0), 1e9)) }
	return Usage{Input: sane(input), Cached: min(sane(cached), sane(input)), Output: sane(output)}
}
