package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/secret"
)

// SignatureHeader holds Grafana's signature unless its contact point names another one.
const SignatureHeader = "X-Grafana-Alerting-Signature"

// Grafana is what is Grafana's own in its handler.
type Grafana struct {
	// SecretFile holds the secret of the contact point's HMAC signature. With it a
	// notification needs its signature, and no other credentials; without it, the
	// credentials of Options.
	SecretFile string
	// SignatureHeader is the contact point's, SignatureHeader by default.
	SignatureHeader string
	// TimestampHeader is the contact point's: with it the time is signed too, and
	// what is older or newer than MaxAge is refused. Empty: the body alone is signed.
	TimestampHeader string
	MaxAge          time.Duration // 5 minutes by default
}

// NewGrafana makes the handler of the URL of a webhook contact point of Grafana
// Alerting.
func NewGrafana(ingest Ingester, opts Options, own Grafana) (http.Handler, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("making Grafana's webhook: %w", err)
	}
	if own.SignatureHeader == "" {
		own.SignatureHeader = SignatureHeader
	}
	if own.MaxAge == 0 {
		own.MaxAge = 5 * time.Minute
	}
	s := sender{name: "Grafana", methods: []string{http.MethodPost, http.MethodPut}, parse: ParseGrafana,
		asks: "set the authorization header, or HTTP basic authentication, in Grafana's contact point"}
	var err error
	if own.SecretFile == "" {
		s.secrets, err = newGate(opts)
		s.challenge = s.secrets.challenge()
		return &handler{ingest: ingest, opts: opts, sender: s}, err
	}
	key, err := secret.Open(own.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("opening the secret of Grafana's signatures: %w", err)
	}
	s.asks = "set the HMAC secret in Grafana's contact point, with " + own.headers()
	s.challenge = []string{`HMAC-SHA256 realm="kmend webhook"`}
	s.signed = func(r *http.Request, body []byte) (bool, error) { return own.signed(key, r, body, time.Now()) }
	return &handler{ingest: ingest, opts: opts, sender: s}, nil
}

func (g Grafana) headers() string {
	if g.TimestampHeader == "" {
		return "the header " + g.SignatureHeader + " and no timestamp header"
	}
	return "the headers " + g.SignatureHeader + " and " + g.TimestampHeader
}

// signed checks the signature: the HMAC-SHA256 in hexadecimal of the body, or of
// the time in Unix seconds, a colon and the body.
func (g Grafana) signed(key *secret.File, r *http.Request, body []byte, now time.Time) (bool, error) {
	at := r.Header.Get(g.TimestampHeader)
	if g.TimestampHeader != "" && !g.fresh(at, now) {
		return false, nil
	}
	value, err := key.Value()
	if err != nil {
		return false, err
	}
	mac := hmac.New(sha256.New, []byte(value))
	if g.TimestampHeader != "" {
		mac.Write([]byte(at + ":"))
	}
	mac.Write(body)
	return hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(strings.ToLower(r.Header.Get(g.SignatureHeader)))), nil
}

// fresh reports whether a time in Unix seconds is about now.
func (g Grafana) fresh(at string, now time.Time) bool {
	seconds, err := strconv.ParseInt(at, 10, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)).Abs() <= g.MaxAge
}

// ParseGrafana decodes the body of one call of a webhook contact point of Grafana
// Alerting, version "1": Alertmanager's fields, and Grafana's own beside them.
// Organisations have groups of their own. The errors are those of ParseAlertmanager.
func ParseGrafana(body []byte) (incident.Notification, error) {
	m, n, err := parse(body, "grafana", grafanaFormat)
	if err != nil {
		return n, err
	}
	if m.OrgID < 0 {
		return incident.Notification{}, wrong("orgId", fmt.Sprint(m.OrgID), "must be 0 or more")
	}
	n.GroupKey = fmt.Sprintf("org %d: %s", m.OrgID, m.GroupKey)
	for i, w := range m.Alerts {
		a := &n.Alerts[i]
		a.OrgID, a.ValueString = m.OrgID, cut(w.ValueString, MaxAnnotation)
		a.DashboardURL, a.PanelURL, a.ImageURL = link(w.DashboardURL), link(w.PanelURL), link(w.ImageURL)
	}
	return n, nil
}
