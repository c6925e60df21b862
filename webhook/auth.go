package webhook

import (
	"fmt"
	"net/http"

	"github.com/kmend/kmend/internal/secret"
)

// gate decides who may send.
type gate struct {
	token    *secret.File // nil: no bearer tokens
	username string
	password *secret.File // nil: no basic authentication
}

// newGate opens the secrets that opts name.
func newGate(opts Options) (gate, error) {
	g := gate{username: opts.BasicUsername}
	var err error
	if opts.BearerTokenFile != "" {
		if g.token, err = secret.Open(opts.BearerTokenFile); err != nil {
			return gate{}, fmt.Errorf("opening the webhook's bearer token: %w", err)
		}
	}
	if opts.BasicPasswordFile != "" {
		if g.password, err = secret.Open(opts.BasicPasswordFile); err != nil {
			return gate{}, fmt.Errorf("opening the webhook's password: %w", err)
		}
	}
	return g, nil
}

// open reports whether the request may pass. An error means that a secret is
// not readable now; then nobody passes.
func (g gate) open(r *http.Request) (bool, error) {
	if g.token == nil && g.password == nil {
		return true, nil
	}
	if g.token != nil {
		if given := secret.Bearer(r); given != "" {
			return g.token.Matches(given)
		}
	}
	if g.password != nil {
		if user, given, ok := r.BasicAuth(); ok {
			match, err := g.password.Matches(given)
			// Both are compared whatever the first says.
			return secret.Equal(user, g.username) && match, err
		}
	}
	return false, nil
}

// challenge is the WWW-Authenticate header's values.
func (g gate) challenge() []string {
	var c []string
	if g.token != nil {
		c = append(c, `Bearer realm="kmend webhook"`)
	}
	if g.password != nil {
		c = append(c, `Basic realm="kmend webhook", charset="UTF-8"`)
	}
	return c
}
