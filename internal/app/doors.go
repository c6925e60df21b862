package app

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/kmend/kmend/internal/secret"
)

// doors knows who may read and who may approve.
type doors struct {
	log       *slog.Logger
	reader    *secret.File // nil: everybody on this machine may read
	approvers []approver
}

type approver struct {
	name  string
	token *secret.File
	// slackUser is who the same person is in Slack; may be empty.
	slackUser string
}

func newDoors(c Config, log *slog.Logger) (doors, error) {
	d := doors{log: log}
	var err error
	if c.API.TokenFile != "" {
		if d.reader, err = secret.Open(c.API.TokenFile); err != nil {
			return doors{}, fmt.Errorf("opening api.tokenFile: %w", err)
		}
	}
	for _, a := range c.Approvers {
		f, err := secret.Open(a.TokenFile)
		if err != nil {
			return doors{}, fmt.Errorf("opening the token of approver %s: %w", a.Name, err)
		}
		d.approvers = append(d.approvers, approver{a.Name, f, a.SlackUser})
	}
	return d, nil
}

// who is the approver whose token the request carries, without a name when it is
// nobody's. All are compared, so that the time says nothing. A token file that
// cannot be read opens nothing.
func (d doors) who(r *http.Request) (who approver) {
	given := secret.Bearer(r)
	for _, a := range d.approvers {
		if d.matches(a.token, given) {
			who = a
		}
	}
	return who
}

func (d doors) matches(f *secret.File, given string) bool {
	ok, err := f.Matches(given)
	if err != nil {
		d.log.Error("a token file opens nothing now", "error", err)
	}
	return ok
}

// mayRead reports whether the request carries the reader's or an approver's token.
func (d doors) mayRead(r *http.Request) bool {
	if d.who(r).name != "" {
		return true
	}
	if d.reader == nil {
		return onThisMachine(r)
	}
	return d.matches(d.reader, secret.Bearer(r))
}

// onThisMachine reports whether the request was meant for this machine by name.
// Whoever asks for localhost under another name is a page in a browser whose own
// name was made to lead here (DNS rebinding).
func onThisMachine(r *http.Request) bool {
	local, err := loopback(r.Host)
	if err != nil { // no port
		local, err = loopback(r.Host + ":80")
	}
	return err == nil && local
}

// readers lets those pass who may read.
func (d doors) readers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.mayRead(r) {
			next.ServeHTTP(w, r)
			return
		}
		if d.reader == nil {
			fail(w, http.StatusForbidden, "without api.tokenFile incidents are read under the name localhost or 127.0.0.1 only")
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="kmend"`)
		fail(w, http.StatusUnauthorized, "missing or wrong token; send api.tokenFile's as Authorization: Bearer TOKEN (kmend: --token-file)")
	})
}

// notApprover says what is missing: a token at all, or the right to approve.
func (d doors) notApprover(w http.ResponseWriter, r *http.Request) {
	switch {
	case len(d.approvers) == 0:
		fail(w, http.StatusForbidden, "nobody may approve: the server's configuration lists no approvers")
	case r.Header.Get("Authorization") != "" && d.mayRead(r) && d.reader != nil:
		fail(w, http.StatusForbidden, "this token may read and not approve; use an approver's")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="kmend approvers"`)
		fail(w, http.StatusUnauthorized, "missing or wrong token; send an approver's as Authorization: Bearer TOKEN (kmend: --token-file)")
	}
}

// named lets requests pass that were meant for this machine by name.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !onThisMachine(r) {
			fail(w, http.StatusForbidden, "without credentials alerts are taken under the name localhost or 127.0.0.1 only; set webhook.bearerTokenFile or webhook.basicAuth")
			return
		}
		next.ServeHTTP(w, r)
	})
}
