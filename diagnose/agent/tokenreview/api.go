package tokenreview

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxAnswer bounds what is read of the API server's answer: the review with the
// token in it, which is at most as large as a request's headers.
const maxAnswer = 256 << 10

// review is authentication.k8s.io/v1, kind TokenReview, as far as it is used.
type review struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       spec   `json:"spec"`
	Status     status `json:"status,omitzero"`
}

type spec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

type status struct {
	Authenticated bool     `json:"authenticated"`
	Audiences     []string `json:"audiences"`
	Error         string   `json:"error"`
	User          struct {
		Username string `json:"username"`
	} `json:"user"`
}

const reviewVersion, reviewKind = "authentication.k8s.io/v1", "TokenReview"

// client reaches the API server and nobody else: no proxy, no redirect, and the
// CA that is in the file when a connection is made.
func (o Options) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conf, err := o.tls()
				if err != nil {
					return nil, err
				}
				return (&tls.Dialer{Config: conf}).DialContext(ctx, network, address)
			},
			MaxConnsPerHost: maxAtOnce,
			IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (o Options) tls() (*tls.Config, error) {
	file := filepath.Join(o.Credentials, "ca.crt")
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's CA: %w", err)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the API server's CA: %s holds no PEM certificate", file)
	}
	return conf, nil
}

// token is the agent's own, with which it asks.
func (o Options) token() (string, error) {
	file := filepath.Join(o.Credentials, "token")
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the agent's own token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("reading the agent's own token: %s is empty, or more than one line of printable ASCII", file)
	}
	return token, nil
}

// ask has one token reviewed. The error never has the token in it.
func (r *Reviewer) ask(ctx context.Context, token string) (status, error) {
	own, err := r.o.token()
	if err != nil {
		return status{}, err
	}
	body, err := json.Marshal(review{APIVersion: reviewVersion, Kind: reviewKind, Spec: spec{token, []string{r.o.Audience}}})
	if err != nil {
		return status{}, fmt.Errorf("writing the review: %w", err)
	}
	url := "https://" + r.o.address() + "/apis/authentication.k8s.io/v1/tokenreviews"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return status{}, fmt.Errorf("asking the API server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+own)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return status{}, fmt.Errorf("asking the API server at %s: %w; look whether the agents' NetworkPolicy (egress) allows this port", r.o.address(), err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return status{}, fmt.Errorf("reading the API server's answer: %w", err)
	}
	if len(text) > maxAnswer {
		return status{}, fmt.Errorf("reading the API server's answer: it is longer than %d bytes", maxAnswer)
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		return status{}, unable(resp, text, token)
	}
	var got review
	if err := json.Unmarshal(text, &got); err != nil {
		return status{}, errors.New("reading the API server's answer: it is no JSON") // the decoder's words may quote the token
	}
	if got.APIVersion != reviewVersion || got.Kind != reviewKind {
		return status{}, fmt.Errorf("reading the API server's answer: it is a %s and no %s", bounded(got.APIVersion+" "+got.Kind), reviewKind)
	}
	got.Status.Error = strings.ReplaceAll(got.Status.Error, token, "TOKEN")
	return got.Status, nil
}

// unable is why the API server did not review, and what to do.
func unable(resp *http.Response, text []byte, token string) error {
	var s struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(text, &s) // a proxy's page has none
	message := bounded(strings.ReplaceAll(s.Message, token, "TOKEN"))
	switch resp.StatusCode {
	case http.StatusForbidden:
		return fmt.Errorf("the agent's service account lacks the right to create tokenreviews.authentication.k8s.io; deploy/rbac/kmend-agent.yaml grants it: with the chart run helm upgrade again, which grants it; without it kubectl apply -f deploy/rbac/kmend-agent.yaml (the API server says: %s)", message)
	case http.StatusUnauthorized:
		return fmt.Errorf("the API server does not know the agent's own token; mount the token of the agent's service account (automountServiceAccountToken) (the API server says: %s)", message)
	}
	return fmt.Errorf("the API server answered %d: %s", resp.StatusCode, message)
}

// bounded is a text of somebody else's as it may stand in an error.
func bounded(text string) string {
	const most = 300
	if text == "" {
		return "no reason given"
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
