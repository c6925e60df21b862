package http

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/kmend/kmend/incident"
)

// Name is what runbooks write.
const Name = "http.request"

// Params are the parameters of http.request.
type Params struct {
	Request
	Timeout    *incident.Duration `json:"timeout,omitempty" jsonschema_description:"How long each request may take: 1s to 5m. Default 30s."`
	CAFile     string             `json:"caFile,omitempty" jsonschema:"pattern=^/[^${}]*$" jsonschema_extras:"x-written=same" jsonschema_description:"A PEM file with the authorities that sign the server's certificate. Default: the machine's."`
	Repeatable bool               `json:"repeatable,omitempty" jsonschema_description:"The other side takes a request with an Idempotency-Key that it has seen for the same one. Then POST and PATCH are sent again after a crash of kmend."`
	Undo       *Request           `json:"undo,omitempty" jsonschema_description:"The request that takes it back. Without one the step is irreversible, and always needs approval."`
	Preview    *Request           `json:"preview,omitempty" jsonschema_description:"A request that changes nothing and says whether the other would be carried out: the dry run."`
}

// Request is one request. The scheme and the host stand in the runbook as they are.
type Request struct {
	URL     string            `json:"url" jsonschema:"pattern=^https?://[^/?#${}@\\\\\\s]+([/?#][\\s\\S]*)?$,maxLength=4000" jsonschema_extras:"x-written=same" jsonschema_description:"http or https. Expressions may stand behind the host only; write urlpart() around them."`
	Method  string            `json:"method,omitempty" jsonschema:"enum=POST,enum=PUT,enum=PATCH,enum=DELETE,enum=GET,enum=HEAD,default=POST"`
	Headers map[string]Header `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty" jsonschema:"maxLength=65536" jsonschema_description:"Sent as it is. In JSON write json() around expressions."`
	Expect  []int             `json:"expect,omitempty" jsonschema_description:"The status codes that say that it went well. Default: 200 to 299."`
}

// Header is the value of a header.
type Header struct {
	Value     string `json:"value,omitempty"`
	ValueFile string `json:"valueFile,omitempty" jsonschema:"pattern=^/[^${}]*$" jsonschema_extras:"x-written=same" jsonschema_description:"A file with the value: for secrets."`
}

// reserved are the headers that say what the message is, and the one that is kmend's.
var reserved = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Te", "Idempotency-Key"}

const (
	defaultTimeout = 30 * time.Second
	maxBody        = 64 << 10
)

func (p Params) timeout() (time.Duration, error) {
	if p.Timeout == nil {
		return defaultTimeout, nil
	}
	if d := p.Timeout.D(); d < time.Second || d > 5*time.Minute {
		return 0, fmt.Errorf("with.timeout: %s is out of bounds; allowed: 1s to 5m", d)
	}
	return p.Timeout.D(), nil
}

// validate checks everything that can be known without sending anything.
func (p Params) validate() error {
	if _, err := p.timeout(); err != nil {
		return err
	}
	for _, r := range []struct {
		name string
		*Request
	}{{"with", &p.Request}, {"with.undo", p.Undo}, {"with.preview", p.Preview}} {
		if r.Request == nil {
			continue
		}
		if err := r.validate(); err != nil {
			return fmt.Errorf("%s.%w", r.name, err)
		}
	}
	return nil
}

func (r Request) validate() error {
	if _, err := r.parse(); err != nil {
		return err
	}
	if !slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"}, r.method()) {
		return fmt.Errorf("method: %q is none of POST, PUT, PATCH, DELETE, GET, HEAD", r.Method)
	}
	for name, h := range r.Headers {
		if slices.Contains(reserved, http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("headers.%s: this header is not for runbooks", name)
		}
		if (h.Value == "") == (h.ValueFile == "") {
			return fmt.Errorf("headers.%s: give value or valueFile", name)
		}
	}
	for i, code := range r.Expect {
		if code < 200 || code > 599 {
			return fmt.Errorf("expect[%d]: %d is no status of an answer; allowed: 200 to 599", i, code)
		}
	}
	switch {
	case len(r.Body) > maxBody:
		return fmt.Errorf("body: it has %d bytes, at most %d are allowed", len(r.Body), maxBody)
	case r.Body != "" && r.json() && !json.Valid([]byte(r.Body)):
		return errors.New("body: it is not JSON; write json() around each expression, or set the header Content-Type to what it is")
	}
	return nil
}

// parse reads the URL. A path that steps upwards is refused: it would not be the
// one that the runbook shows.
func (r Request) parse() (*url.URL, error) {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil:
		return nil, errors.New("url: it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("url: the scheme is %q; allowed: http, https", u.Scheme)
	case u.Hostname() == "" || u.User != nil:
		return nil, errors.New("url: it needs a host, and no user and password; those belong into a header with valueFile")
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == ".." || s == "." }):
		return nil, errors.New("url: its path has a . or .. in it; write urlpart() around expressions")
	case strings.ContainsFunc(r.URL, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }):
		return nil, errors.New("url: it has white space in it; write urlpart() around expressions")
	}
	return u, nil
}

func (r Request) method() string {
	if r.Method == "" {
		return http.MethodPost
	}
	return r.Method
}

// json reports whether the body is said to be JSON. It is where nothing is said.
func (r Request) json() bool {
	for name, h := range r.Headers {
		if http.CanonicalHeaderKey(name) == "Content-Type" {
			kind, _, err := mime.ParseMediaType(h.Value)
			return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
		}
	}
	return true
}

func (r Request) expected(code int) bool {
	if len(r.Expect) == 0 {
		return code >= 200 && code <= 299
	}
	return slices.Contains(r.Expect, code)
}

// again reports whether the request may be sent twice: RFC 9110, section 9.2.2.
func (r Request) again() bool {
	return r.method() != http.MethodPost && r.method() != http.MethodPatch
}

// String is the request for people: without what stands in the query, which may be secret.
func (r Request) String() string {
	u, err := r.parse()
	if err != nil {
		return r.method()
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return r.method() + " " + shown.String()
}
