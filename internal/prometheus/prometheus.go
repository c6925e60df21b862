// Package prometheus makes the client of the Prometheus that the configuration names.
// The guards read error budgets with it (internal/guard), and the investigation what
// metrics say (diagnose/metrics).
package prometheus

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/kmend/kmend/internal/secret"
)

// timeout bounds one request.
const timeout = 10 * time.Second

// New makes a client of the Prometheus at a URL, with a bearer token where one is
// asked for (nil: none).
func New(url string, token *secret.File) (v1.API, error) {
	c, err := api.NewClient(api.Config{Address: url, Client: &http.Client{
		Timeout:   timeout,
		Transport: bearer{http.DefaultTransport, token},
		// A token goes to the server that the configuration names, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects; name the server itself") },
	}})
	if err != nil {
		return nil, fmt.Errorf("making the client of Prometheus: %w", err)
	}
	return v1.NewAPI(c), nil
}

// maxAnswer bounds what is read of one answer. The rules of a
// large cluster, with the alerts that fire, are the most.
const maxAnswer = 8 << 20

// bearer adds the token and bounds the answer.
type bearer struct {
	next  http.RoundTripper
	token *secret.File
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != nil {
		token, err := b.token.Value()
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = limited{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

type limited struct {
	io.Reader
	io.Closer
}
