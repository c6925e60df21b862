package traces

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	// maxAnswer bounds what is read of one answer, maxSpans what is kept of all
	// traces of one question.
	maxAnswer = 16 << 20
	maxSpans  = 50_000
)

// client asks one server.
type client struct {
	opts Options
	http *http.Client
}

func newClient(o Options) client {
	return client{o, &http.Client{
		Timeout: o.Timeout,
		// A token goes to the server that the configuration names, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects; name the server itself") },
	}}
}

// get reads an answer; nil is that there is none (404).
func (c client) get(ctx context.Context, path string, params url.Values) ([]byte, error) {
	to := strings.TrimRight(c.opts.URL, "/") + path
	if len(params) > 0 {
		to += "?" + params.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if c.opts.Token != nil {
		token, err := c.opts.Token.Value()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok { // its URL holds labels
			err = u.Err
		}
		return nil, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		said, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return nil, fmt.Errorf("GET %s: %s: %q", path, res.Status, said)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errTooLarge
	}
	return body, err
}

// bounded cuts what is longer than a name has to be.
func bounded(name string) string {
	name = strings.ToValidUTF8(name, "?")
	if len(name) > maxService {
		name = strings.ToValidUTF8(name[:maxService], "")
	}
	return strings.ReplaceAll(name, "\x00", "?")
}
