package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/test/elasticsearch"
	"github.com/kmend/kmend/test/logstore"
	"github.com/kmend/kmend/test/loki"
)

var pod = incident.Target{Cluster: "prod", Node: "n1", Namespace: "shop", Pod: "cart-7f9c-x", Container: "app"}

// store is one to test with a way to put lines there.
type store struct {
	Store
	push func(...logstore.Entry)
	// fields are the names that the store's own agent gives.
	fields Fields
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func lokiAt(t *testing.T, o LokiOptions) *Loki {
	t.Helper()
	if o.Labels == (Fields{}) {
		o.Labels = DefaultLokiLabels()
	}
	l := must[*Loki](t)(NewLoki(o))
	t.Cleanup(l.Close)
	return l
}

func elasticAt(t *testing.T, a Access) *Elasticsearch {
	t.Helper()
	o := DefaultElasticsearchOptions()
	o.Access = a
	e := must[*Elasticsearch](t)(NewElasticsearch(o))
	t.Cleanup(e.Close)
	return e
}

// each runs a test with every store that is to be had: the stand-ins, and the real
// Loki where it was built.
func each(t *testing.T, test func(t *testing.T, s store)) {
	t.Run("loki", func(t *testing.T) {
		s := loki.NewServer(t)
		t.Cleanup(func() { noProblems(t, s.Faults) })
		test(t, store{lokiAt(t, LokiOptions{Access: Access{URL: s.URL}}), s.Push, DefaultLokiLabels()})
	})
	t.Run("elasticsearch", func(t *testing.T) {
		s := elasticsearch.NewServer(t)
		t.Cleanup(func() { noProblems(t, s.Faults) })
		test(t, store{elasticAt(t, Access{URL: s.URL}), s.Push, DefaultElasticsearchOptions().Fields})
	})
	t.Run("real loki", func(t *testing.T) {
		r, err := loki.StartReal(t.Context(), t.TempDir())
		if errors.Is(err, loki.ErrNotBuilt) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Kill() })
		test(t, store{lokiAt(t, LokiOptions{Access: Access{URL: r.URL}}), func(e ...logstore.Entry) {
			if err := r.Push(t.Context(), e...); err != nil {
				t.Fatal(err)
			}
		}, DefaultLokiLabels()})
	})
}

func noProblems(t *testing.T, f *logstore.Faults) {
	if p := f.Problems(); len(p) > 0 {
		t.Errorf("the store was asked what it does not know: %q", p)
	}
}

// of are the labels of a target's lines.
func (s store) of(tg incident.Target) map[string]string {
	m := map[string]string{}
	for name, v := range map[string]string{s.fields.Namespace: tg.Namespace, s.fields.Pod: tg.Pod, s.fields.Container: tg.Container, s.fields.Unit: tg.Unit} {
		if name != "" && v != "" {
			m[name] = v
		}
	}
	return m
}

func texts(b Batch) []string {
	var all []string
	for _, l := range b.Lines {
		all = append(all, l.Text)
	}
	slices.Sort(all)
	return all
}

// Only the target's lines come, of the time that is asked for, and no more than the
// limit: also where the names are written by somebody who wants more.
func TestLines(t *testing.T) {
	each(t, func(t *testing.T, s store) {
		now := time.Now().Truncate(time.Millisecond)
		other := pod
		other.Pod = "cart-7f9c-y"
		evil := pod
		evil.Pod = `x", pod=~".+`
		slash, space := pod, pod
		slash.Pod, space.Pod = `back\slash`, "two words 'é'"
		unit := incident.Target{Unit: "shop.service"}
		at := func(ago time.Duration, tg incident.Target, line string) logstore.Entry {
			return logstore.Entry{At: now.Add(-ago), Labels: s.of(tg), Line: line}
		}
		s.push(at(90*time.Second, pod, "too early"), at(30*time.Second, pod, "one"), at(20*time.Second, pod, "two ERROR"), at(0, pod, "too late"),
			at(20*time.Second, other, "of another pod"), at(20*time.Second, slash, "with a backslash"), at(20*time.Second, space, "with a space"), at(20*time.Second, unit, "of a unit"))
		for _, tt := range []struct {
			name    string
			target  incident.Target
			limit   int
			trouble bool
			want    []string
			cut     bool
		}{
			{"a pod", pod, 10, false, []string{"one", "two ERROR"}, false},
			{"the latest", pod, 1, false, []string{"two ERROR"}, true},
			{"as many as there may be", pod, 2, false, []string{"one", "two ERROR"}, true},
			{"trouble", pod, 10, true, []string{"two ERROR"}, false},
			{"any container", incident.Target{Namespace: "shop", Pod: pod.Pod}, 10, false, []string{"one", "two ERROR"}, false},
			{"of another namespace", incident.Target{Namespace: "bar", Pod: pod.Pod}, 10, false, nil, false},
			{"a backslash", slash, 10, false, []string{"with a backslash"}, false},
			{"a space", space, 10, false, []string{"with a space"}, false},
			{"a unit", unit, 10, false, []string{"of a unit"}, false},
			{"a unit's cgroup", incident.Target{Cgroup: "/system.slice/shop.service"}, 10, false, []string{"of a unit"}, false},
		} {
			b, err := s.Lines(t.Context(), Query{Target: tt.target, From: now.Add(-time.Minute), To: now, Limit: tt.limit, Trouble: tt.trouble})
			if err != nil || !slices.Equal(texts(b), tt.want) || b.Cut != tt.cut || b.Note != "" {
				t.Errorf("%s: %q, cut %v, note %q, %v; want %q, %v", tt.name, texts(b), b.Cut, b.Note, err, tt.want, tt.cut)
			}
		}
		for name, tg := range map[string]incident.Target{
			"a name that ends its quotes": evil,
			"a long name":                 {Namespace: "shop", Pod: strings.Repeat("x", 300)},
			"a line break":                {Namespace: "shop", Pod: "a\nb"},
			"no namespace":                {Pod: "cart"},
			"a node":                      {Node: "n1"},
			"a group that is no service":  {Cgroup: "/user.slice"},
		} {
			if b, err := s.Lines(t.Context(), Query{Target: tg, From: now.Add(-time.Minute), To: now, Limit: 10}); !errors.Is(err, ErrNotAsked) {
				t.Errorf("%s: %q, %v; want that it is not asked", name, texts(b), err)
			}
		}
	})
}

// What a store does wrong is an error that says it, soon and without secrets.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		fault logstore.Fault
		want  string
	}{
		{logstore.Limited, "answers 429 Too Many Requests: \"too many outstanding requests"},
		{logstore.Broken, `answers 500 Internal Server Error: "internal error: password=[secret]`},
		{logstore.Huge, "answers with more than 8 MiB; a smaller limit of lines helps"},
		{logstore.Garbage, "reading the answer of "},
		{logstore.Cut, "unexpected EOF"},
		{logstore.Redirect, "it redirects; name the server itself"},
		{logstore.Hang, "no answer within 300ms"},
	} {
		t.Run(string(tt.fault), func(t *testing.T) {
			t.Parallel()
			l, e := loki.NewServer(t), elasticsearch.NewServer(t)
			for f, s := range map[*logstore.Faults]Store{l.Faults: lokiAt(t, LokiOptions{Access: Access{URL: l.URL}}), e.Faults: elasticAt(t, Access{URL: e.URL})} {
				f.Set(tt.fault)
				o := DefaultOptions()
				o.Store = s
				if tt.fault == logstore.Hang {
					o.Timeout = 300 * time.Millisecond
				} else {
					o.Timeout = time.Minute // the machine may be busy
				}
				r := must[*Reader](t)(New(o))
				got, err := r.Observe(t.Context(), diagnosed(incident.CPUThrottled))
				if err == nil || !strings.Contains(err.Error(), tt.want) || len(got.Observations) > 0 || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s: %+v, error %v; want %q", s.Name(), got, err, tt.want)
				}
			}
		})
	}
}

// Secrets and the tenant go where they belong; a wrong one is an error without it.
func TestAccess(t *testing.T) {
	file := func(text string) *secret.File {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return must[*secret.File](t)(secret.Open(path))
	}
	q := Query{Target: pod, From: time.Now().Add(-time.Minute), To: time.Now(), Limit: 10}
	l, e := loki.NewServer(t), elasticsearch.NewServer(t)
	l.OrgID, l.Bearer, e.APIKey = "team-a", "right", "right"
	for _, tt := range []struct {
		s    Store
		want string
	}{
		{lokiAt(t, LokiOptions{Access: Access{URL: l.URL, Token: file("right")}, OrgID: "team-a"}), ""},
		{lokiAt(t, LokiOptions{Access: Access{URL: l.URL, Token: file("wrong")}, OrgID: "team-a"}), "Loki answers 401 Unauthorized"},
		{lokiAt(t, LokiOptions{Access: Access{URL: l.URL, Token: file("right")}}), `Loki answers 401 Unauthorized: "no org id`},
		{elasticAt(t, Access{URL: e.URL, APIKey: file("right")}), ""},
		{elasticAt(t, Access{URL: e.URL, APIKey: file("wrong")}), "Elasticsearch answers 401 Unauthorized"},
		{elasticAt(t, Access{URL: e.URL, Username: "ada", Password: file("wrong")}), "Elasticsearch answers 401 Unauthorized"},
	} {
		_, err := tt.s.Lines(t.Context(), q)
		if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) || strings.Contains(got, "wrong") {
			t.Errorf("error %v; want %q", err, tt.want)
		}
	}
}

// A search of which a part failed is said to be one, and one of which all failed fails.
func TestElasticsearchParts(t *testing.T) {
	s := elasticsearch.NewServer(t)
	e := elasticAt(t, Access{URL: s.URL})
	q := Query{Target: pod, From: time.Now().Add(-time.Minute), To: time.Now(), Limit: 10}
	for _, tt := range []struct {
		failed    int
		timedOut  bool
		note, err string
	}{{0, false, "", ""}, {2, false, "2 of 5 shards failed", ""}, {0, true, "it searched a part only in the time it had", ""}, {5, false, "", "all shards failed"}} {
		s.FailedShards, s.TimedOut = tt.failed, tt.timedOut
		b, err := e.Lines(t.Context(), q)
		if b.Note != tt.note || b.Cut != (tt.note != "") || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v: %+v, %v", tt, b, err)
		}
	}
}

func TestElasticsearchField(t *testing.T) {
	doc := map[string]any{"a": map[string]any{"b": map[string]any{"c": "deep"}, "d.e": "half"}, "f.g": "flat", "n": 7}
	for name, want := range map[string]string{"a.b.c": "deep", "a.d.e": "half", "f.g": "flat", "a.b": "", "x.y": "", "n": "", "": ""} {
		if got := field(doc, name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

func TestRefusesNames(t *testing.T) {
	for _, o := range []LokiOptions{
		{Labels: Fields{Pod: `pod="x"} or {a`}}, {Match: map[string]string{"a-b": "x"}}, {OrgID: "a\r\nX: y"}, {Access: Access{URL: "ftp://x"}}, {Access: Access{URL: "http://ada:pw@x"}},
	} {
		if o.URL == "" {
			o.URL = "http://127.0.0.1:1"
		}
		if _, err := NewLoki(o); err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, change := range []func(*ElasticsearchOptions){
		func(o *ElasticsearchOptions) { o.Index = "../_cluster/settings?" }, func(o *ElasticsearchOptions) { o.Index = "a/b" },
		func(o *ElasticsearchOptions) { o.Time = `"` }, func(o *ElasticsearchOptions) { o.Message = "" }, func(o *ElasticsearchOptions) { o.Fields.Pod = "a b" },
	} {
		o := DefaultElasticsearchOptions()
		o.URL = "http://127.0.0.1:1"
		change(&o)
		if _, err := NewElasticsearch(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
