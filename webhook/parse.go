package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/incident"
)

// Bounds of one notification. Prometheus has no bounds by default; these are far
// over what a person writes and far under what hurts.
const (
	maxURL             = 2 << 10
	MaxAlerts          = 2000
	MaxLabels          = 128      // of one alert
	MaxLabelName       = 1024     // bytes
	MaxLabelValue      = 8 << 10  // bytes
	MaxAnnotation      = 16 << 10 // bytes; what is longer is cut, for it identifies nothing
	maxGroupKey        = 64 << 10
	maxReceiver        = 1024
	maxFingerprint     = 64
	alertmanagerFormat = "4"
	grafanaFormat      = "1"
)

// ParseError says what is wrong with a notification, and where.
type ParseError struct {
	Field   string // "alerts[2].startsAt"; empty when the JSON itself is broken
	Value   string // what is there, shortened
	Problem string // what is wrong with it, and what is allowed
	Offset  int64  // bytes from the start of the body, where it is known
}

func (e *ParseError) Error() string {
	var b strings.Builder
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	if e.Value != "" {
		fmt.Fprintf(&b, "%q ", e.Value)
	}
	b.WriteString(e.Problem)
	if e.Offset > 0 {
		fmt.Fprintf(&b, " (at byte %d)", e.Offset)
	}
	return b.String()
}

// TooManyError is a notification with more than MaxAlerts alerts.
type TooManyError struct{ Alerts int }

func (e *TooManyError) Error() string {
	return fmt.Sprintf("alerts: %d of them; at most %d are taken at once: set max_alerts in Alertmanager's webhook_config (Max Alerts in Grafana's contact point), or group by more labels",
		e.Alerts, MaxAlerts)
}

// message is the webhook body of Alertmanager, and of Grafana, as it is on the wire.
// Fields that kmend does not need are not decoded, so they may be anything.
type message struct {
	Version         string      `json:"version"`
	GroupKey        string      `json:"groupKey"`
	Status          string      `json:"status"`
	Receiver        string      `json:"receiver"`
	ExternalURL     string      `json:"externalURL"`
	TruncatedAlerts int         `json:"truncatedAlerts"`
	Alerts          []wireAlert `json:"alerts"`

	OrgID int64 `json:"orgId"` // Grafana
}

// wireAlert keeps times as text, so that an error can name their field.
type wireAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     string            `json:"startsAt"`
	EndsAt       string            `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`

	// Grafana's.
	DashboardURL string `json:"dashboardURL"`
	PanelURL     string `json:"panelURL"`
	ImageURL     string `json:"imageURL"`
	ValueString  string `json:"valueString"`
}

// ParseAlertmanager decodes the body of one webhook call of an Alertmanager,
// version "4". Unknown fields are ignored. What kmend needs must be there:
// version, groupKey, status, and of each alert its status, labels with an
// alertname, and startsAt; a missing fingerprint is computed from the labels as
// Prometheus does. The error is a *ParseError or a *TooManyError.
func ParseAlertmanager(body []byte) (incident.Notification, error) {
	_, n, err := parse(body, "alertmanager", alertmanagerFormat)
	return n, err
}

// parse decodes and checks what Alertmanager and Grafana have in common.
func parse(body []byte, source, version string) (message, incident.Notification, error) {
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return m, incident.Notification{}, broken(err)
	}
	if m.Version != version {
		return m, incident.Notification{}, wrong("version", m.Version, fmt.Sprintf("must be %q, the version of the webhook format of %s that kmend reads", version, source))
	}
	if err := m.check(); err != nil {
		return m, incident.Notification{}, err
	}
	n := incident.Notification{
		Source:          source,
		Receiver:        m.Receiver,
		GroupKey:        m.GroupKey,
		Status:          incident.AlertStatus(m.Status),
		ExternalURL:     m.ExternalURL,
		TruncatedAlerts: m.TruncatedAlerts,
		Alerts:          make([]incident.Alert, len(m.Alerts)),
	}
	for i, a := range m.Alerts {
		alert, err := a.alert(fmt.Sprintf("alerts[%d]", i))
		if err != nil {
			return m, incident.Notification{}, err
		}
		n.Alerts[i] = alert
	}
	return m, n, nil
}

// broken makes a ParseError of what encoding/json says.
func broken(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return &ParseError{Problem: "not JSON: " + syntax.Error(), Offset: syntax.Offset}
	}
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &ParseError{Field: typ.Field, Problem: fmt.Sprintf("is a JSON %s; want %s", typ.Value, jsonName(typ.Type.Kind().String())), Offset: typ.Offset}
	}
	return &ParseError{Problem: "not JSON: " + err.Error()}
}

// jsonName is the JSON name of a Go kind.
func jsonName(kind string) string {
	switch kind {
	case "struct", "map":
		return "an object"
	case "slice":
		return "an array"
	case "int":
		return "a whole number"
	}
	return "a " + kind
}

func (m message) check() error {
	switch {
	case m.GroupKey == "":
		return wrong("groupKey", "", "is missing; kmend tells incidents apart by it")
	case len(m.GroupKey) > maxGroupKey:
		return wrong("groupKey", m.GroupKey, fmt.Sprintf("has %d bytes; at most %d are allowed", len(m.GroupKey), maxGroupKey))
	case !known(m.Status):
		return wrong("status", m.Status, "must be firing or resolved")
	case len(m.Receiver) > maxReceiver:
		return wrong("receiver", m.Receiver, fmt.Sprintf("has %d bytes; at most %d are allowed", len(m.Receiver), maxReceiver))
	case m.TruncatedAlerts < 0:
		return wrong("truncatedAlerts", fmt.Sprint(m.TruncatedAlerts), "must be 0 or more")
	case len(m.Alerts) == 0:
		return wrong("alerts", "", "is empty; want at least one alert")
	case len(m.Alerts) > MaxAlerts:
		return &TooManyError{len(m.Alerts)}
	}
	return nil
}

func (a wireAlert) alert(field string) (incident.Alert, error) {
	if !known(a.Status) {
		return incident.Alert{}, wrong(field+".status", a.Status, "must be firing or resolved")
	}
	if err := checkLabels(field+".labels", a.Labels); err != nil {
		return incident.Alert{}, err
	}
	starts, err := instant(field+".startsAt", a.StartsAt)
	if err != nil {
		return incident.Alert{}, err
	}
	if starts.IsZero() {
		return incident.Alert{}, wrong(field+".startsAt", a.StartsAt, "is missing; want an RFC 3339 time")
	}
	ends, err := instant(field+".endsAt", a.EndsAt)
	if err != nil {
		return incident.Alert{}, err
	}
	if len(a.Fingerprint) > maxFingerprint {
		return incident.Alert{}, wrong(field+".fingerprint", a.Fingerprint, fmt.Sprintf("has %d bytes; at most %d are allowed", len(a.Fingerprint), maxFingerprint))
	}
	if a.Fingerprint == "" {
		a.Fingerprint = fingerprint(a.Labels)
	}
	return incident.Alert{
		Fingerprint:  a.Fingerprint,
		Status:       incident.AlertStatus(a.Status),
		Labels:       a.Labels,
		Annotations:  cutAnnotations(a.Annotations),
		StartsAt:     starts,
		EndsAt:       ends,
		GeneratorURL: cut(a.GeneratorURL, MaxAnnotation),
	}, nil
}

func checkLabels(field string, labels map[string]string) error {
	if labels["alertname"] == "" {
		return wrong(field+".alertname", "", "is missing; every alert has one")
	}
	if len(labels) > MaxLabels {
		return wrong(field, "", fmt.Sprintf("has %d labels; at most %d are allowed", len(labels), MaxLabels))
	}
	for name, value := range labels {
		if name == "" || len(name) > MaxLabelName || strings.ContainsRune(name, 0) {
			return wrong(field, name, fmt.Sprintf("is no label name: 1 to %d bytes without NUL", MaxLabelName))
		}
		if len(value) > MaxLabelValue || strings.ContainsRune(value, 0) {
			return wrong(field+"."+cut(name, 80), value, fmt.Sprintf("is no label value: at most %d bytes (this has %d) without NUL", MaxLabelValue, len(value)))
		}
	}
	return nil
}

// cutAnnotations bounds the annotations: they are prose, so what is too much is
// cut instead of losing the alert.
func cutAnnotations(in map[string]string) map[string]string {
	for name, value := range in {
		if len(in) > MaxLabels || len(name) > MaxLabelName {
			delete(in, name)
			continue
		}
		in[name] = strings.ReplaceAll(cut(value, MaxAnnotation), "\x00", "")
	}
	return in
}

// cut shortens s to at most n bytes, at a rune's end, and shows that it did.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n-len("…")]
	for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	if len(s) > 0 && s[len(s)-1] >= utf8.RuneSelf {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// Years that an alert's time may be in: what Unix nanoseconds hold for certain.
const minYear, maxYear = 1970, 2261

// instant reads a time, in UTC: JSON knows fewer offsets than time.Parse takes.
// "" and 0001-01-01T00:00:00Z, Alertmanager's "not ended", are the zero time.
func instant(field, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, wrong(field, s, "is not an RFC 3339 time such as 2026-11-21T22:17:45Z")
	}
	t = t.UTC()
	if !t.IsZero() && (t.Year() < minYear || t.Year() > maxYear) {
		return time.Time{}, wrong(field, s, fmt.Sprintf("is in the year %d; want %d to %d", t.Year(), minYear, maxYear))
	}
	return t, nil
}

// fingerprint is Prometheus's: FNV-1a over the sorted labels, in hexadecimal.
func fingerprint(labels map[string]string) string {
	set := make(model.LabelSet, len(labels))
	for name, value := range labels {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	return set.Fingerprint().String()
}

func known(status string) bool {
	return status == string(incident.Firing) || status == string(incident.Resolved)
}

func wrong(field, value, problem string) error {
	return &ParseError{Field: field, Value: cut(value, 80), Problem: problem}
}

// link keeps a web address that somebody may follow, and nothing else: one that is
// cut leads nowhere.
func link(s string) string {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return u.String()
}
