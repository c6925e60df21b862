package slack

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	standin "github.com/kmend/kmend/test/slack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asked is a double of the next stage.
type asked struct {
	mu     sync.Mutex
	clicks []Click
	answer func(Click) Reply
}

func (a *asked) Answer(_ context.Context, c Click) Reply {
	a.mu.Lock()
	a.clicks = append(a.clicks, c)
	f := a.answer
	a.mu.Unlock()
	if f == nil {
		return Reply{}
	}
	return f(c)
}

func (a *asked) got() []Click {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Click(nil), a.clicks...)
}

// door is the endpoint at work, with a Slack that clicks.
type door struct {
	*asked
	slack  *standin.Server
	m      *Metrics
	log    *locked
	clicks *Clicks
	secret string // its file
}

type locked struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, change func(*Options)) *door {
	t.Helper()
	d := &door{asked: &asked{}, slack: standin.Start(standin.Options{}), m: NewMetrics(prometheus.NewRegistry()), log: &locked{}}
	o := DefaultOptions()
	o.Answerer, o.Metrics, o.Logger, o.HooksURL = d.asked, d.m, slog.New(slog.NewTextHandler(d.log, nil)), d.slack.HooksURL()
	if change != nil {
		change(&o)
	}
	var err error
	if d.clicks, err = NewClicks(o); err != nil {
		t.Fatal(err)
	}
	d.secret = file(t, standin.SigningSecret)
	h, err := NewHandler(d.secret, d.clicks)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	d.slack.Serve(s.URL)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.clicks.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		s.Close()
		d.slack.Close()
		for _, p := range d.slack.Problems() {
			t.Error(p)
		}
		for _, secret := range []string{standin.SigningSecret, "/actions/T0TEST"} {
			if strings.Contains(d.log.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, d.log)
			}
		}
	})
	return d
}

const (
	someIncident = "20261121-120000.000-0a1b2c3d"
	somePlan     = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

// message is one with the three buttons.
func message() standin.Message {
	button := func(id string) string {
		return `{"type":"button","action_id":"` + id + `","text":{"type":"plain_text","text":"x"},"value":"` + someIncident + " " + somePlan + `"}`
	}
	return standin.Message{TS: "1.2", Blocks: []byte(`[{"type":"actions","elements":[` + button("kmend.approve") + "," + button("kmend.deny") + "," + button("kmend.details") + "]}]")}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestClicks(t *testing.T) {
	d := open(t, nil)
	for i, action := range []Action{Approve, Deny, Details} {
		if status, err := d.slack.Click(t.Context(), message(), string(action), "U1"); status != 200 || err != nil {
			t.Fatalf("%s: %d, %v", action, status, err)
		}
		until(t, "the click", func() bool { return len(d.got()) == i+1 })
		c := d.got()[i]
		if c.Action != action || c.Incident != someIncident || c.Plan != somePlan || c.User != "U1" || c.UserName != "u1" || !strings.HasPrefix(c.ResponseURL, d.slack.HooksURL()) {
			t.Errorf("click %+v", c)
		}
	}
	if n := testutil.ToFloat64(d.m.clicks.WithLabelValues(resultTaken)); n != 3 {
		t.Errorf("%v taken", n)
	}
	// Without an answer nobody is told anything: the message shows it.
	if e := d.slack.Ephemerals(); len(e) > 0 {
		t.Errorf("told %+v", e)
	}
}

// Whatever is not Slack's own, young and new has no effect, and is not told why.
func TestForged(t *testing.T) {
	d := open(t, nil)
	body := func() []byte { return standin.Form(d.slack.Interaction(message(), string(Approve), "U1")) }
	sign := func(secret string, at time.Time, signed []byte) func(*http.Request) {
		return func(r *http.Request) {
			ts, sig := standin.Sign(secret, at, signed)
			r.Header.Set("X-Slack-Request-Timestamp", ts)
			r.Header.Set("X-Slack-Signature", sig)
		}
	}
	for name, c := range map[string]struct {
		body   []byte
		change func(*http.Request)
		status int
	}{
		"another secret":   {body(), sign("wrong", time.Now(), body()), 401},
		"another body":     {body(), sign(standin.SigningSecret, time.Now(), []byte("payload=x")), 401},
		"late":             {body(), nil, 401},
		"early":            {body(), nil, 401},
		"no signature":     {body(), func(r *http.Request) { r.Header.Del("X-Slack-Signature") }, 401},
		"no time":          {body(), func(r *http.Request) { r.Header.Del("X-Slack-Request-Timestamp") }, 401},
		"time is no time":  {body(), func(r *http.Request) { r.Header.Set("X-Slack-Request-Timestamp", "now") }, 401},
		"v1":               {body(), func(r *http.Request) { r.Header.Set("X-Slack-Signature", "v1"+r.Header.Get("X-Slack-Signature")[2:]) }, 401},
		"cut":              {body(), func(r *http.Request) { r.Header.Set("X-Slack-Signature", r.Header.Get("X-Slack-Signature")[:20]) }, 401},
		"in the query":     {[]byte("a=b"), func(r *http.Request) { r.URL.RawQuery = string(body()) }, 400},
		"JSON":             {body(), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 415},
		"two payloads":     {append(append(body(), '&'), body()...), nil, 400},
		"GET":              {nil, func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"too large":        {[]byte("payload=" + strings.Repeat("x", maxBody)), nil, 413},
		"not ours":         {standin.Form([]byte(`{"type":"view_submission"}`)), nil, 200},
		"incident's form":  {standin.Form([]byte(`{"type":"block_actions","user":{"id":"U1"},"actions":[{"type":"button","action_id":"kmend.approve","value":"../x y"}]}`)), nil, 400},
		"user's form":      {standin.Form([]byte(`{"type":"block_actions","user":{"id":"ada"},"actions":[{"type":"button","action_id":"kmend.approve","value":"` + someIncident + " " + somePlan + `"}]}`)), nil, 400},
		"payload's syntax": {standin.Form([]byte(`{"type":`)), nil, 400},
	} {
		switch name {
		case "late":
			c.change = sign(standin.SigningSecret, time.Now().Add(-young-2*time.Second), c.body)
		case "early":
			c.change = sign(standin.SigningSecret, time.Now().Add(young+2*time.Second), c.body)
		}
		if status, err := d.slack.Send(t.Context(), c.body, c.change); err != nil || status != c.status {
			t.Errorf("%s: %d, %v; want %d", name, status, err, c.status)
		}
	}
	// The secret is gone: nothing can be checked, so nothing is taken.
	good := body()
	if err := os.Remove(d.secret); err != nil {
		t.Fatal(err)
	}
	if status, err := d.slack.Send(t.Context(), good, nil); err != nil || status != 503 {
		t.Errorf("without its secret: %d, %v", status, err)
	}
	time.Sleep(50 * time.Millisecond)
	if got, told := d.got(), d.slack.Ephemerals(); len(got) > 0 || len(told) > 0 {
		t.Errorf("worked on %+v, told %+v", got, told)
	}
}

// The very same call has an effect once, whatever its signature is spelt like.
func TestReplayed(t *testing.T) {
	d := open(t, nil)
	body := standin.Form(d.slack.Interaction(message(), string(Approve), "U1"))
	ts, sig := standin.Sign(standin.SigningSecret, time.Now(), body)
	for i, signature := range []string{sig, sig, "v0=" + strings.ToUpper(sig[3:])} {
		status, err := d.slack.Send(t.Context(), body, func(r *http.Request) {
			r.Header.Set("X-Slack-Request-Timestamp", ts)
			r.Header.Set("X-Slack-Signature", signature)
		})
		if want := map[bool]int{true: 200, false: 401}[i == 0]; err != nil || status != want {
			t.Errorf("call %d: %d, %v; want %d", i+1, status, err, want)
		}
	}
	time.Sleep(50 * time.Millisecond)
	if n := len(d.got()); n != 1 {
		t.Errorf("worked on %d times", n)
	}
}

// What is remembered against replays is forgotten when it cannot come again.
func TestSeenForgets(t *testing.T) {
	s := &seen{by: map[[32]byte]time.Time{}}
	now := time.Now()
	if !s.first([32]byte{1}, now) || s.first([32]byte{1}, now.Add(young)) || !s.first([32]byte{2}, now.Add(3*young)) || len(s.by) != 1 {
		t.Errorf("remembers %d", len(s.by))
	}
}

// A backend that hangs holds up neither Slack's three seconds nor who clicked for
// ever; when too many wait, Slack is told so at once.
func TestBackendHangs(t *testing.T) {
	release := make(chan struct{})
	d := open(t, func(o *Options) { o.Workers, o.Queue, o.Timeout = 1, 2, 300*time.Millisecond })
	d.answer = func(Click) Reply { <-release; return Reply{} }
	defer close(release)
	var full int
	for range 6 {
		began := time.Now()
		status, err := d.slack.Click(t.Context(), message(), string(Approve), "U1")
		if err != nil || time.Since(began) > time.Second {
			t.Fatalf("answered %d after %s: %v", status, time.Since(began), err)
		}
		if status == 503 {
			full++
		}
	}
	if full < 2 {
		t.Errorf("%d of 6 were refused with room for three", full)
	}
	until(t, "who clicked is told", func() bool { return len(d.slack.Ephemerals()) > 0 })
	if e := d.slack.Ephemerals()[0]; e.User != "U1" || !strings.Contains(e.Text, "in time") {
		t.Errorf("told %+v", e)
	}
}

// A click that was acknowledged is worked on, also when kmend stops.
func TestStopDrains(t *testing.T) {
	a := &asked{}
	o := DefaultOptions()
	o.Answerer, o.Metrics = a, NewMetrics(prometheus.NewRegistry())
	c, err := NewClicks(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c.Take(Click{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Run(ctx)
	if n := len(a.got()); n != 10 {
		t.Errorf("worked on %d of 10", n)
	}
}

func TestPanicIsTold(t *testing.T) {
	d := open(t, nil)
	d.answer = func(Click) Reply { panic("boom") }
	if _, err := d.slack.Click(t.Context(), message(), string(Deny), "U1"); err != nil {
		t.Fatal(err)
	}
	until(t, "who clicked is told", func() bool { return len(d.slack.Ephemerals()) == 1 })
}

// A reply goes to Slack or nowhere, whatever the payload says.
func TestResponseURL(t *testing.T) {
	called := make(chan string, 8)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.URL.Path }))
	defer elsewhere.Close()
	redirects := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirects.Close()
	d := open(t, nil)
	host := strings.TrimPrefix(d.slack.URL, "http://")
	for _, to := range []string{
		"", "x", elsewhere.URL + "/actions/x", "http://" + host + "@" + strings.TrimPrefix(elsewhere.URL, "http://") + "/actions/x",
		d.slack.URL + "/other/x", d.slack.URL + "/actions/../other", d.slack.URL + "/actionsx", "https://" + host + "/actions/x", d.slack.URL + "/actions/%2e%2e/other",
	} {
		if err := d.clicks.tell(t.Context(), to, Reply{Text: "x"}); err == nil || !strings.Contains(err.Error(), "nothing was sent") {
			t.Errorf("%q: %v", to, err)
		}
	}
	u, err := url.Parse(redirects.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/"
	d.clicks.hooks = u
	if err := d.clicks.tell(t.Context(), redirects.URL+"/secret/path", Reply{Text: "x"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a redirect: %v", err)
	}
	if len(called) > 0 {
		t.Errorf("somebody else was called at %s", <-called)
	}
	d.clicks.http.CloseIdleConnections()
	if (Clicks{}).hooks != nil || DefaultOptions().HooksURL != "https://hooks.slack.com/" {
		t.Error("the default is not Slack")
	}
}
