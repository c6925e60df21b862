package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/kmend/kmend/internal/redact"
	"github.com/kmend/kmend/internal/secret"
)

// maxAnswer bounds what is read of one answer, unpacked.
const maxAnswer = 8 << 20

// Access is how a store is reached. The secrets are read anew for each request,
// so rotated ones count at once.
type Access struct {
	URL string // http:// or https://, with the path prefix if there is one
	// At most one of these: a bearer token, a key of Elasticsearch's API, a name with its password.
	Token, APIKey *secret.File
	Username      string
	Password      *secret.File
}

// server is one HTTP API.
type server struct {
	name   string
	base   *url.URL
	access Access
	http   *http.Client
}

func newServer(name string, a Access) (*server, error) {
	u, err := url.Parse(a.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("the URL of %s is not http://HOST:PORT or https://HOST:PORT", name)
	}
	return &server{name: name, base: u, access: a, http: &http.Client{
		Transport: http.DefaultTransport.(*http.Transport).Clone(),
		// A secret goes to the server that the configuration names, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects; name the server itself") },
	}}, nil
}

// Close gives back idle connections.
func (s *server) Close() { s.http.CloseIdleConnections() }

// ask sends a request; a nil body is a GET. The deadline is the context's.
func (s *server) ask(ctx context.Context, path string, query url.Values, header http.Header, body []byte) ([]byte, error) {
	u := s.base.JoinPath(path)
	u.RawQuery = query.Encode()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", s.name, err)
	}
	for name := range header {
		req.Header.Set(name, header.Get(name))
	}
	if err := s.authorize(req); err != nil {
		return nil, fmt.Errorf("asking %s: %w", s.name, err)
	}
	res, err := s.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the query is long, and everybody reads this
		}
		return nil, fmt.Errorf("asking %s: %w", s.name, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer of %s: %w", s.name, err)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers %s: %q", s.name, res.Status, excerpt(b))
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("%s answers with more than %d MiB; a smaller limit of lines helps", s.name, maxAnswer>>20)
	}
	return b, nil
}

func (s *server) authorize(req *http.Request) error {
	for _, x := range []struct {
		scheme string
		file   *secret.File
	}{{"Bearer ", s.access.Token}, {"ApiKey ", s.access.APIKey}} {
		if x.file == nil {
			continue
		}
		v, err := x.file.Value()
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", x.scheme+v)
	}
	if s.access.Password != nil {
		v, err := s.access.Password.Value()
		if err != nil {
			return err
		}
		req.SetBasicAuth(s.access.Username, v)
	}
	return nil
}

// excerpt is the beginning of an error's text.
func excerpt(b []byte) string {
	return cut(redact.Redactor{}.Redact(strings.ToValidUTF8(string(b[:min(len(b), 1000)]), "")), 200)
}
