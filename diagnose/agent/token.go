package agent

import (
	"crypto/sha256"
	"crypto/subtle"
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

// guarded lets requests with the file's bearer token through. The file is read
// for every request, so that a rotated secret applies at once; when it cannot be
// read nobody is let in.
func guarded(tokenFile string, h http.Handler) http.Handler {
	refusals := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := readToken(tokenFile)
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		// Hashes have one length, so that the comparison's time tells nothing.
		a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
		if err != nil || !ok || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			no := refuse(ErrUnauthenticated, "the bearer token is missing or wrong: give kmend the agents' token file")
			_ = refusals.Write(w, r, toConnect(no)) // the caller has gone
			return
		}
		h.ServeHTTP(w, r)
	})
}
