package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
)

// ErrFull is what an Ingester returns when it takes no more for now.
var ErrFull = errors.New("too many incidents are open")

// Ingester takes a notification over: when it returns nil the notification is
// committed to disk.
type Ingester interface {
	Ingest(ctx context.Context, n incident.Notification) error
}

// sender is what one kind of sender does in its own way.
type sender struct {
	name    string
	methods []string
	secrets gate
	// signed, when not nil, decides instead of secrets, by the body.
	signed    func(r *http.Request, body []byte) (ok bool, err error)
	parse     func(body []byte) (incident.Notification, error)
	challenge []string // WWW-Authenticate
	asks      string   // what to set where it has no credentials
}

// handler answers the webhook of one sender:
//
//	204  committed
//	400  malformed; the JSON body {"error", "field", "offset"} says what and where
//	401  no or wrong credentials
//	405  another method than the sender's
//	413  the body, or the number of alerts, is over its bound
//	415  not JSON. A missing content type is refused too: a page in somebody's
//	     browser can send such a request to a kmend on localhost, and JSON not
//	503  full, or the storage does not take it; the sender tries again
type handler struct {
	sender
	ingest Ingester
	opts   Options
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	n, refusal := h.read(w, r)
	if refusal == nil {
		refusal = h.commit(r.Context(), n)
	}
	if refusal != nil {
		h.refuse(w, r, refusal)
		return
	}
	h.opts.Metrics.count(resultAccepted)
	for _, a := range n.Alerts {
		h.opts.Metrics.alerts.WithLabelValues(string(a.Status)).Inc()
	}
	h.opts.Metrics.truncated.Add(float64(n.TruncatedAlerts))
	h.opts.Metrics.observe(start)
	w.WriteHeader(http.StatusNoContent)
}

// refusal is an answer other than 2xx. Body goes to the sender; err is for the log.
type refusal struct {
	status int
	result string
	body   answer
	err    error
}

type answer struct {
	Error  string `json:"error"`
	Field  string `json:"field,omitempty"`
	Offset int64  `json:"offset,omitempty"`
}

// read takes the notification out of the request, cheapest check first.
func (h *handler) read(w http.ResponseWriter, r *http.Request) (incident.Notification, *refusal) {
	var none incident.Notification
	if allowed := strings.Join(h.methods, ", "); !slices.Contains(h.methods, r.Method) {
		w.Header().Set("Allow", allowed)
		return none, &refusal{status: http.StatusMethodNotAllowed, result: resultRefused,
			body: answer{Error: fmt.Sprintf("%s is not allowed here; %s sends %s", r.Method, h.name, allowed)}}
	}
	if h.signed == nil {
		ok, err := h.secrets.open(r)
		if !ok || err != nil {
			return none, h.unknown(w, err)
		}
	}
	if problem := mediaType(r); problem != "" {
		return none, &refusal{status: http.StatusUnsupportedMediaType, result: resultRefused, body: answer{Error: problem}}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.opts.MaxBodyBytes))
	if err != nil {
		return none, h.unread(err)
	}
	if h.signed != nil {
		if ok, err := h.signed(r, body); !ok || err != nil {
			return none, h.unknown(w, err)
		}
	}
	n, err := h.parse(body)
	if err != nil {
		return none, unparsed(err)
	}
	return n, nil
}

// unknown refuses who did not show who it is; with an error, kmend cannot tell.
func (h *handler) unknown(w http.ResponseWriter, err error) *refusal {
	if err != nil {
		return &refusal{status: http.StatusServiceUnavailable, result: resultUnavailable,
			body: answer{Error: "kmend does not know its own credentials right now; its log says why"}, err: err}
	}
	w.Header()["Www-Authenticate"] = h.challenge
	return &refusal{status: http.StatusUnauthorized, result: resultUnauthorized, body: answer{Error: "missing or wrong credentials; " + h.asks}}
}

// mediaType says what is wrong with the request's content type or encoding.
func mediaType(r *http.Request) string {
	given := r.Header.Get("Content-Type")
	if t, _, err := mime.ParseMediaType(given); err != nil || t != "application/json" {
		return fmt.Sprintf("Content-Type is %q; want application/json", cut(given, 80))
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return fmt.Sprintf("Content-Encoding is %q; want none", cut(enc, 80))
	}
	return ""
}

func (h *handler) unread(err error) *refusal {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &refusal{status: http.StatusRequestEntityTooLarge, result: resultTooLarge, body: answer{Error: fmt.Sprintf(
			"the body has more than %d bytes; bound the alerts in %s (max_alerts), or raise webhook.maxBodyBytes of kmend", h.opts.MaxBodyBytes, h.name)}}
	}
	return &refusal{status: http.StatusBadRequest, result: resultMalformed, body: answer{Error: "the body ended early"}, err: err}
}

func unparsed(err error) *refusal {
	if _, ok := errors.AsType[*TooManyError](err); ok {
		return &refusal{status: http.StatusRequestEntityTooLarge, result: resultTooLarge, body: answer{Error: err.Error(), Field: "alerts"}}
	}
	r := &refusal{status: http.StatusBadRequest, result: resultMalformed, body: answer{Error: err.Error()}, err: err}
	if p, ok := errors.AsType[*ParseError](err); ok {
		r.body.Field, r.body.Offset = p.Field, p.Offset
	}
	return r
}

// commit hands the notification on. The sender learns that trying again helps,
// and nothing of what is broken inside.
func (h *handler) commit(ctx context.Context, n incident.Notification) *refusal {
	err := h.ingest.Ingest(ctx, n)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFull):
		return &refusal{status: http.StatusServiceUnavailable, result: resultFull,
			body: answer{Error: "too many incidents are open; try again later"}, err: err}
	}
	return &refusal{status: http.StatusServiceUnavailable, result: resultUnavailable,
		body: answer{Error: "the notification was not stored; try again later"}, err: err}
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, f *refusal) {
	h.opts.Metrics.count(f.result)
	level, detail := slog.LevelWarn, f.body.Error
	if f.err != nil {
		detail = f.err.Error()
	}
	if f.status >= 500 {
		level = slog.LevelError
		w.Header().Set("Retry-After", strconv.Itoa(int(h.opts.RetryAfter.Seconds())))
	}
	h.opts.Logger.Log(r.Context(), level, "notification refused", "status", f.status, "remote", r.RemoteAddr, "reason", detail)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(f.body) // the status is what counts; the sender may be gone
}
