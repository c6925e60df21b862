package agent

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"connectrpc.com/connect"
)

// readToken reads a bearer token from a file; the token is not in the error.
func readToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("reading the token: %s is empty", file)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("reading the token: %s holds more than one line of printable ASCII", file)
	}
	return token, nil
}

// fromFile checks against the file's bearer token. The file is read for every
// request, so that a rotated secret applies at once; when it cannot be read nobody
// is let in.
func fromFile(tokenFile string) func(context.Context, string) error {
	return func(_ context.Context, got string) error {
		want, err := readToken(tokenFile)
		// Hashes have one length, so that the comparison's time tells nothing.
		a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
		if err != nil || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			return errors.New("the bearer token is missing or wrong: give kmend the agents' token file")
		}
		return nil
	}
}

// guarded lets requests through whose bearer token check lets in; "" is that of
// a request without one.
func guarded(check func(ctx context.Context, token string) error, h http.Handler) http.Handler {
	refusals := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			token = ""
		}
		if err := check(r.Context(), token); err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			no := refuse(ErrUnauthenticated, "%s", err)
			_ = refusals.Write(w, r, toConnect(no)) // the caller has gone
			return
		}
		h.ServeHTTP(w, r)
	})
}
