package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/template"

	"github.com/kmend/kmend/incident"
)

// recorded reads a body that Alertmanager 0.25.0 sent.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseRecorded(t *testing.T) {
	n, err := ParseAlertmanager(recorded(t, "firing-cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	if n.Source != "alertmanager" || n.Receiver != "kmend" || n.Status != incident.Firing || n.GroupKey != `{}:{alertname="CheckoutSlow"}` ||
		n.ExternalURL != "http://alertmanager.example:9093" || n.TruncatedAlerts != 0 || len(n.Alerts) != 1 {
		t.Fatalf("notification = %+v", n)
	}
	a := n.Alerts[0]
	want := time.Date(2026, 11, 21, 22, 17, 45, 642268283, time.UTC)
	if a.Name() != "CheckoutSlow" || a.Fingerprint != "5e257bdaf71c7238" || a.Status != incident.Firing || !a.StartsAt.Equal(want) || !a.EndsAt.IsZero() ||
		a.Labels["cgroup"] != "/sys/fs/cgroup/cpu/demo/checkout" || a.Annotations["summary"] != "p99 of checkout is over 1s" ||
		a.GeneratorURL != "http://prometheus.example:9090/graph?g0.expr=x%3E1&g0.tab=1" {
		t.Fatalf("alert = %+v", a)
	}

	n, err = ParseAlertmanager(recorded(t, "firing-truncated"))
	if err != nil || n.TruncatedAlerts != 1 || len(n.Alerts) != 2 {
		t.Fatalf("truncated: %+v, %v; want 1 truncated and 2 alerts", n, err)
	}
	n, err = ParseAlertmanager(recorded(t, "resolved-cgroup"))
	if err != nil || n.Status != incident.Resolved || n.Alerts[0].Status != incident.Resolved || n.Alerts[0].EndsAt.IsZero() {
		t.Fatalf("resolved: %+v, %v", n, err)
	}
}

// The fingerprint that is computed is the one Alertmanager sends.
func TestFingerprintAsAlertmanager(t *testing.T) {
	for _, name := range []string{"firing-cgroup", "firing-truncated", "resolved-cgroup"} {
		body := recorded(t, name)
		sent, err := ParseAlertmanager(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range sent.Alerts {
			body = []byte(strings.ReplaceAll(string(body), `"`+a.Fingerprint+`"`, `""`))
		}
		computed, err := ParseAlertmanager(body)
		if err != nil {
			t.Fatal(err)
		}
		for i := range sent.Alerts {
			if got, want := computed.Alerts[i].Fingerprint, sent.Alerts[i].Fingerprint; got != want {
				t.Errorf("%s alert %d: computed %s, Alertmanager sent %s", name, i, got, want)
			}
		}
	}
}

// Alertmanager's own Go types, of the version in go.mod, are read without loss:
// a newer Alertmanager than the recorded one.
func TestReadsAlertmanagersTypes(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	body, err := json.Marshal(struct {
		*template.Data
		Version         string `json:"version"`
		GroupKey        string `json:"groupKey"`
		TruncatedAlerts uint64 `json:"truncatedAlerts"`
	}{&template.Data{
		Receiver: "r", Status: "firing", ExternalURL: "http://am",
		Alerts: template.Alerts{{
			Status: "firing", Labels: template.KV{"alertname": "A", "pod": "p"}, Annotations: template.KV{"summary": "s"},
			StartsAt: start, GeneratorURL: "g", Fingerprint: "f",
		}},
	}, "4", "k", 7})
	if err != nil {
		t.Fatal(err)
	}
	n, err := ParseAlertmanager(body)
	if err != nil {
		t.Fatal(err)
	}
	want := incident.Notification{Source: "alertmanager", Receiver: "r", GroupKey: "k", Status: "firing", ExternalURL: "http://am", TruncatedAlerts: 7,
		Alerts: []incident.Alert{{Fingerprint: "f", Status: "firing", Labels: map[string]string{"alertname": "A", "pod": "p"},
			Annotations: map[string]string{"summary": "s"}, StartsAt: start, GeneratorURL: "g"}}}
	if fmt.Sprintf("%+v", n) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", n, want)
	}
}

// body is a whole notification with one thing changed.
func body(change func(m map[string]any, alert map[string]any)) []byte {
	alert := map[string]any{"status": "firing", "labels": map[string]any{"alertname": "A"}, "startsAt": "2026-01-02T03:04:05Z"}
	m := map[string]any{"version": "4", "groupKey": "k", "status": "firing", "alerts": []any{alert}}
	change(m, alert)
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func TestParseRefuses(t *testing.T) {
	type m = map[string]any
	set := func(k string, v any) []byte { return body(func(top, _ m) { top[k] = v }) }
	alert := func(k string, v any) []byte { return body(func(_, a m) { a[k] = v }) }
	label := func(k string, v any) []byte { return alert("labels", m{"alertname": "A", k: v}) }
	many := m{"alertname": "A"}
	for i := range MaxLabels {
		many[fmt.Sprint("l", i)] = "x"
	}
	for name, c := range map[string]struct {
		body   []byte
		field  string
		says   string
		offset bool
	}{
		"empty":            {[]byte(""), "", "not JSON", false},
		"cut short":        {[]byte(`{"version":"4",`), "", "not JSON", true},
		"two documents":    {[]byte(`{} {}`), "", "not JSON", true},
		"array":            {[]byte(`[]`), "", "is a JSON array; want an object", true},
		"grafana version":  {set("version", "1"), "version", `"1" must be "4"`, false},
		"numeric version":  {set("version", 4), "version", "is a JSON number; want a string", true},
		"no group":         {set("groupKey", ""), "groupKey", "is missing", false},
		"huge group":       {set("groupKey", strings.Repeat("k", maxGroupKey+1)), "groupKey", "at most 65536", false},
		"status":           {set("status", "Firing"), "status", "must be firing or resolved", false},
		"no alerts":        {set("alerts", []any{}), "alerts", "at least one", false},
		"alerts object":    {set("alerts", m{}), "alerts", "want an array", true},
		"truncated below":  {set("truncatedAlerts", -1), "truncatedAlerts", "0 or more", false},
		"truncated float":  {set("truncatedAlerts", 1.5), "truncatedAlerts", "want a whole number", true},
		"alert status":     {alert("status", nil), "alerts[0].status", "must be firing or resolved", false},
		"no labels":        {alert("labels", nil), "alerts[0].labels.alertname", "is missing", false},
		"no alertname":     {alert("labels", m{"x": "y"}), "alerts[0].labels.alertname", "is missing", false},
		"label number":     {label("x", 1), "alerts.labels", "is a JSON number; want a string", true},
		"label too long":   {label("x", strings.Repeat("y", MaxLabelValue+1)), "alerts[0].labels.x", "at most 8192", false},
		"label name long":  {label(strings.Repeat("y", MaxLabelName+1), "x"), "alerts[0].labels", "no label name", false},
		"label NUL":        {label("x", "a\x00b"), "alerts[0].labels.x", "without NUL", false},
		"too many labels":  {alert("labels", many), "alerts[0].labels", "at most 128", false},
		"no start":         {alert("startsAt", nil), "alerts[0].startsAt", "is missing", false},
		"zero start":       {alert("startsAt", "0001-01-01T00:00:00Z"), "alerts[0].startsAt", "is missing", false},
		"bad start":        {alert("startsAt", "yesterday"), "alerts[0].startsAt", "RFC 3339", false},
		"bad end":          {alert("endsAt", "x"), "alerts[0].endsAt", "RFC 3339", false},
		"start too early":  {alert("startsAt", "1969-12-31T23:59:59Z"), "alerts[0].startsAt", "is in the year 1969; want 1970 to 2261", false},
		"start too late":   {alert("startsAt", "2262-01-01T00:00:00Z"), "alerts[0].startsAt", "is in the year 2262", false},
		"late by offset":   {alert("startsAt", "2261-12-31T23:59:59-00:01"), "alerts[0].startsAt", "is in the year 2262", false},
		"end too late":     {alert("endsAt", "9999-12-31T23:59:59Z"), "alerts[0].endsAt", "is in the year 9999", false},
		"end before zero":  {alert("endsAt", "0001-01-01T00:00:00+24:00"), "alerts[0].endsAt", "is in the year 0;", false},
		"long fingerprint": {alert("fingerprint", strings.Repeat("f", 65)), "alerts[0].fingerprint", "at most 64", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseAlertmanager(c.body)
			p, ok := errors.AsType[*ParseError](err)
			if !ok {
				t.Fatalf("error = %v; want a *ParseError", err)
			}
			if !strings.HasPrefix(p.Field, c.field) || (c.field == "") != (p.Field == "") {
				t.Errorf("field = %q; want %q", p.Field, c.field)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %q; want %q in it", err, c.says)
			}
			if (p.Offset > 0) != c.offset {
				t.Errorf("offset = %d; want one: %v", p.Offset, c.offset)
			}
			if len(err.Error()) > 400 {
				t.Errorf("the error repeats %d bytes of the input", len(err.Error()))
			}
		})
	}
}

func TestParseLenient(t *testing.T) {
	type m = map[string]any
	long := strings.Repeat("é", MaxAnnotation)
	n, err := ParseAlertmanager(body(func(top, a m) {
		top["newField"] = []any{1, "x"}
		top["groupLabels"] = "not an object, and not needed"
		a["annotations"] = m{"description": long, "nul": "a\x00b"}
		a["alsoNew"] = true
	}))
	if err != nil {
		t.Fatal(err)
	}
	got := n.Alerts[0].Annotations["description"]
	if len(got) > MaxAnnotation || len(got) < MaxAnnotation-8 || !strings.HasSuffix(got, "…") || !utf8.ValidString(got) {
		t.Errorf("long annotation has %d bytes, ends in %q", len(got), got[len(got)-6:])
	}
	if got := n.Alerts[0].Annotations["nul"]; got != "ab" {
		t.Errorf("annotation with NUL = %q", got)
	}
}

// Every time that is read can be written as JSON and as Unix nanoseconds, also
// one whose offset JSON does not know; a firing alert's zero end stays zero.
func TestParseTimes(t *testing.T) {
	n, err := ParseAlertmanager(body(func(_, a map[string]any) {
		a["startsAt"], a["endsAt"] = "2026-01-01T00:00:00+24:00", "0001-01-01T00:00:00Z"
	}))
	if err != nil {
		t.Fatal(err)
	}
	a := n.Alerts[0]
	if want := time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC); !a.StartsAt.Equal(want) || a.StartsAt.Location() != time.UTC || !a.EndsAt.IsZero() {
		t.Errorf("starts %s, ends %s; want %s in UTC and zero", a.StartsAt, a.EndsAt, want)
	}
	if _, err := json.Marshal(n); err != nil {
		t.Errorf("accepted what cannot be stored: %v", err)
	}
}

func TestParseTooMany(t *testing.T) {
	b := body(func(top, a map[string]any) {
		alerts := make([]any, MaxAlerts+1)
		for i := range alerts {
			alerts[i] = a
		}
		top["alerts"] = alerts
	})
	_, err := ParseAlertmanager(b)
	if many, ok := errors.AsType[*TooManyError](err); !ok || many.Alerts != MaxAlerts+1 || !strings.Contains(err.Error(), "max_alerts") {
		t.Fatalf("error = %v; want a *TooManyError", err)
	}
}

// FuzzParse: whatever arrives, an accepted notification holds what
// the next stages rely on, and everything else is an error of the known kinds.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"firing-cgroup", "firing-truncated", "resolved-cgroup", "grafana-firing"} {
		f.Add(recorded(f, name))
	}
	for _, s := range []string{
		`{"version":"1","orgId":9223372036854775807,"groupKey":"k","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"a"},"startsAt":"2026-01-02T03:04:05Z","imageURL":"http://[::1]:x/"}]}`,
		``, `null`, `{}`, `[]`, `{"version":"4"}`, `{"version":4}`, "\xff\xfe",
		`{"version":"4","groupKey":"k","status":"firing","alerts":[null]}`,
		`{"version":"4","groupKey":"k","status":"resolved","alerts":[{"status":"resolved","labels":{"alertname":"a"},"startsAt":"2026-01-02T03:04:05+14:00"}]}`,
		`{"VERSION":"4","groupkey":"k","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"\ud800"},"startsAt":"2026-01-02T03:04:05Z","annotations":null}]}`,
		`{"version":"4","groupKey":"k","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"a"},"startsAt":"2026-01-01T00:00:00+24:00","endsAt":"0001-01-01T00:00:00Z"}]}`,
		`{"version":"4","groupKey":"k","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"a"},"startsAt":"9999-12-31T23:59:59-23:59","endsAt":"0000-01-01T00:00:00Z"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseAlertmanager(b)
		if g, e := ParseGrafana(b); e == nil {
			n, err = g, e // never both: they have different versions
		}
		if err != nil {
			_, parse := errors.AsType[*ParseError](err)
			_, many := errors.AsType[*TooManyError](err)
			if !parse && !many || err.Error() == "" {
				t.Fatalf("error %T %q", err, err)
			}
			return
		}
		if n.GroupKey == "" || !known(string(n.Status)) || len(n.Alerts) == 0 || len(n.Alerts) > MaxAlerts || n.TruncatedAlerts < 0 {
			t.Fatalf("accepted %+v", n)
		}
		for _, a := range n.Alerts {
			if got := time.Unix(0, a.StartsAt.UnixNano()); !got.Equal(a.StartsAt) {
				t.Fatalf("startsAt %s is %s in Unix nanoseconds", a.StartsAt, got)
			}
			if a.Name() == "" || a.Fingerprint == "" || a.StartsAt.IsZero() || !known(string(a.Status)) || len(a.Labels) > MaxLabels {
				t.Fatalf("accepted alert %+v", a)
			}
		}
		if _, err := json.Marshal(n); err != nil {
			t.Fatalf("accepted what cannot be stored: %v", err)
		}
	})
}
