package llm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standin "github.com/kmend/kmend/test/llm"
)

// behind is a provider's API with its stand-in.
type behind struct {
	name  string
	start func(func(standin.Prompt) string) *standin.Server
	base  string // path of the URL
	dial  func(Endpoint) (Model, error)
}

func providers() []behind {
	return []behind{
		{"anthropic", standin.Anthropic, "", NewAnthropic},
		{"openai", standin.OpenAI, "/v1", func(e Endpoint) (Model, error) { return NewOpenAI(OpenAIOptions{Endpoint: e}) }},
		{"local", standin.Local, "/v1/", func(e Endpoint) (Model, error) {
			e.KeyFile = ""
			return NewOpenAI(OpenAIOptions{Endpoint: e, MaxTokensAs: "max_tokens"})
		}},
	}
}

// rig is a model behind a stand-in.
type rig struct {
	*standin.Server
	model Model
	key   string // "" where none is asked for
	file  string
}

// onProviders runs a test for each. The stand-in answers a summary; at the end it
// must have understood everything.
func onProviders(t *testing.T, test func(t *testing.T, r rig)) {
	for _, p := range providers() {
		t.Run(p.name, func(t *testing.T) {
			s := p.start(func(standin.Prompt) string { return said })
			t.Cleanup(s.Close)
			r := rig{Server: s, key: standin.Key, file: keyFile(t, standin.Key)}
			if p.name == "local" {
				r.key = ""
			}
			var err error
			if r.model, err = p.dial(Endpoint{URL: s.URL + p.base, KeyFile: r.file, Model: standin.Model}); err != nil {
				t.Fatal(err)
			}
			test(t, r)
			for _, problem := range s.Problems() {
				t.Errorf("the provider does not understand: %s", problem)
			}
		})
	}
}

func keyFile(t *testing.T, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	rotate(t, path, key)
	return path
}

// rotate replaces a key as careful programs do.
func rotate(t *testing.T, path, key string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

const said = `{"title":"pod shop/cart-1: \u003cthrottled\u003e","rootCause":["é"]}`

// asked has its properties in no alphabetical order, and secrets to look for.
func asked() Prompt {
	return Prompt{
		System:    "Summarize what happened. " + strings.Repeat("Cite the facts. ", 300),
		User:      "<facts 00> the prompt of hush-hush </facts 00>",
		Name:      "summary",
		Schema:    json.RawMessage(`{"type":"object","properties":{"title":{"type":"string"},"rootCause":{"type":"array","items":{"type":"string"}}},"required":["title","rootCause"],"additionalProperties":false}`),
		MaxTokens: 500,
	}
}

// clean fails when an error says what nobody may read in it.
func clean(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for _, s := range append(secrets, "hush-hush", "Cite the facts") {
		if err != nil && s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("the error says %q: %v", s, err)
		}
	}
}

func TestModelAnswers(t *testing.T) {
	onProviders(t, func(t *testing.T, r rig) {
		for i := range 2 {
			got, err := r.model.Complete(t.Context(), asked())
			if err != nil {
				t.Fatal(err)
			}
			if string(got.JSON) != said || got.Model != standin.Model {
				t.Errorf("answer %q of %q; want %q of %q", got.JSON, got.Model, said, standin.Model)
			}
			p := asked()
			want := Usage{Input: (len(p.System+p.User) + len(p.Schema) + 3) / 4, Output: (len(said) + 3) / 4}
			if i == 1 {
				want.Cached = (len(standin.Model+p.System) + 3) / 4 // the system text was read before
			}
			if got.Usage != want {
				t.Errorf("call %d took %+v; want %+v", i, got.Usage, want)
			}
		}
		for _, body := range r.Requests() {
			text := string(body)
			if strings.Contains(text, "temperature") {
				t.Errorf("a temperature that nobody asked for: %s", text)
			}
			if title, cause := strings.Index(text, `"title"`), strings.Index(text, `"rootCause"`); title < 0 || cause < title {
				t.Errorf("the properties of the schema are in another order: %s", text)
			}
		}
	})
}

func TestModelTemperature(t *testing.T) {
	for _, p := range providers() {
		s := p.start(func(standin.Prompt) string { return said })
		defer s.Close()
		zero := 0.0
		m, err := p.dial(Endpoint{URL: s.URL + p.base, KeyFile: keyFile(t, standin.Key), Model: standin.Model, Temperature: &zero})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Complete(t.Context(), asked()); err != nil || len(s.Problems()) > 0 {
			t.Errorf("%s: %v %v", p.name, err, s.Problems())
		}
		if got := string(s.Requests()[0]); !strings.Contains(got, `"temperature":0`) {
			t.Errorf("%s: no temperature 0 in %s", p.name, got)
		}
	}
}

// TestModelRefuses: what happened is told apart, is tried once, and neither the
// key nor the prompt are in the error, though the provider repeats both.
func TestModelRefuses(t *testing.T) {
	other := errors.New("another error")
	for name, c := range map[string]struct {
		fault standin.Fault
		want  error
		text  string
	}{
		"bad request":   {standin.Fault{Status: 400}, ErrRefused, "answers 400 invalid_request_error"},
		"credentials":   {standin.Fault{Status: 401}, ErrRefused, "answers 401 authentication_error"},
		"permission":    {standin.Fault{Status: 403}, ErrRefused, "answers 403 permission_error"},
		"not found":     {standin.Fault{Status: 404}, ErrRefused, "answers 404 not_found_error"},
		"too large":     {standin.Fault{Status: 413}, ErrRefused, "answers 413 request_too_large"},
		"unprocessable": {standin.Fault{Status: 422}, ErrRefused, "answers 422"},
		"rate":          {standin.Fault{Status: 429}, ErrLimited, "answers 429 rate_limit_error"},
		"overloaded":    {standin.Fault{Status: 529}, ErrLimited, "answers 529 overloaded_error"},
		"timeout":       {standin.Fault{Status: 408}, other, "answers 408"},
		"error":         {standin.Fault{Status: 500}, other, "answers 500 api_error"},
		"proxy's page":  {standin.Fault{Status: 502, Body: "<html>" + standin.Key + " hush-hush"}, other, "answers 502"},
		"odd words":     {standin.Fault{Status: 400, Body: `{"error":{"type":"` + standin.Key + `","code":"the prompt of hush-hush","param":[1]}}`}, ErrRefused, "answers 400"},
		"refusal":       {standin.Fault{Refuse: true}, ErrRefused, "refuses to answer"},
		"cut":           {standin.Fault{Cut: true}, other, "did not fit into 500 tokens"},
		"broken JSON":   {standin.Fault{Body: `{"model":"stand-in-1","cho`}, other, "unexpected"},
		"another API":   {standin.Fault{Body: `{"hello":"` + standin.Key + `"}`}, other, ""},
		"oversize":      {standin.Fault{Body: `{"pad":"` + strings.Repeat("x", maxResponse) + `"}`}, other, "more than 65536 bytes"},
		"oversize 400":  {standin.Fault{Status: 400, Body: strings.Repeat("x", maxResponse+1)}, other, "more than 65536 bytes"},
		"redirect":      {standin.Fault{Redirect: "https://elsewhere.example.com/hush-hush/" + standin.Key}, ErrRefused, `redirects to host "elsewhere.example.com"`},
	} {
		t.Run(name, func(t *testing.T) {
			onProviders(t, func(t *testing.T, r rig) {
				r.Break(c.fault)
				got, err := r.model.Complete(t.Context(), asked())
				if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "asking model "+standin.Model) {
					t.Fatalf("%v; want %q", err, c.text)
				}
				for _, kind := range []error{ErrLimited, ErrRefused} {
					if is, want := errors.Is(err, kind), errors.Is(c.want, kind); is != want {
						t.Errorf("is %q: %v; want %v: %v", kind, is, want, err)
					}
				}
				clean(t, err, r.key)
				if n := len(r.Requests()); n != 1 {
					t.Errorf("%d requests; want 1", n)
				}
				if paid := c.fault.Refuse || c.fault.Cut; got.JSON != nil || paid != (got.Usage.Input > 0) {
					t.Errorf("completion %+v", got)
				}
				r.Break(standin.Fault{})
				if _, err := r.model.Complete(t.Context(), asked()); err != nil {
					t.Errorf("mended: %v", err)
				}
			})
		})
	}
}

// TestModelIsBounded: MaxTokens reaches the provider.
func TestModelIsBounded(t *testing.T) {
	onProviders(t, func(t *testing.T, r rig) {
		p := asked()
		p.MaxTokens = 5
		if _, err := r.model.Complete(t.Context(), p); err == nil || !strings.Contains(err.Error(), "5 tokens") {
			t.Errorf("%v; want an answer that is cut at 5 tokens", err)
		}
		if got := r.Usage().Output; got != 5 {
			t.Errorf("%d tokens; want 5", got)
		}
	})
}

func TestModelKeyRotates(t *testing.T) {
	onProviders(t, func(t *testing.T, r rig) {
		if r.key == "" {
			t.Skip("it asks for none")
		}
		const next = "sk-test-next"
		r.Rotate(next)
		err := ask(t, r)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "answers 401") {
			t.Errorf("the old key: %v; want it refused", err)
		}
		clean(t, err, r.key)
		rotate(t, r.file, next)
		if err := ask(t, r); err != nil {
			t.Errorf("the new key: %v", err)
		}
		rotate(t, r.file, "sk-two\nlines-hush")
		err = ask(t, r)
		if err == nil {
			t.Error("a key of two lines was sent")
		}
		clean(t, err, "sk-two", "lines-hush")
		n := len(r.Requests())
		if err := os.Remove(r.file); err != nil {
			t.Fatal(err)
		}
		if err := ask(t, r); !errors.Is(err, os.ErrNotExist) || len(r.Requests()) != n {
			t.Errorf("a key that is gone: %v; want an error before any request", err)
		}
	})
}

func ask(t *testing.T, r rig) error {
	_, err := r.model.Complete(t.Context(), asked())
	return err
}

func TestModelDeadline(t *testing.T) {
	onProviders(t, func(t *testing.T, r rig) {
		r.Break(standin.Fault{After: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := r.model.Complete(ctx, asked()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v; want the deadline of the context", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := r.model.Complete(ctx, asked()); !errors.Is(err, context.Canceled) {
			t.Errorf("%v; want canceled", err)
		}
	})
}

// TestModelFollowsNoRedirect: whatever way it is sent, a call reaches no other
// host, and not another path of its own.
func TestModelFollowsNoRedirect(t *testing.T) {
	reached := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer elsewhere.Close()
	onProviders(t, func(t *testing.T, r rig) {
		for _, to := range []string{elsewhere.URL, "/elsewhere"} {
			r.Break(standin.Fault{Redirect: to})
			if err := ask(t, r); !errors.Is(err, ErrRefused) {
				t.Errorf("redirected to %s: %v; want it refused", to, err)
			}
		}
		if n := len(r.Requests()); reached != 0 || n != 2 {
			t.Errorf("%d calls elsewhere, %d here; want 0 and 2", reached, n)
		}
	})
}

// TestModelUnbelievable: nobody counts with usage that cannot be, nor repeats a
// name that is none.
func TestModelUnbelievable(t *testing.T) {
	const usage = `"usage":{"input_tokens":-5,"cache_read_input_tokens":70,"output_tokens":9000000000000000000,"prompt_tokens":-5,"completion_tokens":9000000000000000000,"prompt_tokens_details":{"cached_tokens":70}}`
	onProviders(t, func(t *testing.T, r rig) {
		r.Break(standin.Fault{Body: `{"type":"message","model":"two words","stop_reason":"end_turn","content":[{"type":"text","text":"{}"}],
			"choices":[{"finish_reason":"stop","message":{"content":"{}"}}],` + usage + `}`})
		got, err := r.model.Complete(t.Context(), asked())
		if err != nil || string(got.JSON) != "{}" || got.Model != standin.Model {
			t.Fatalf("%+v, %v", got, err)
		}
		if u := got.Usage; u.Input < 0 || u.Cached < 0 || u.Cached > u.Input || u.Output != 1e9 {
			t.Errorf("usage %+v", u)
		}
	})
}

func TestModelIsMisconfigured(t *testing.T) {
	hot, key := 2.1, keyFile(t, standin.Key)
	for name, c := range map[string]struct {
		e    Endpoint
		want string
	}{
		"http":        {Endpoint{URL: "http://models.example.com/v1", Model: "m", KeyFile: key}, `url begins with "http://models.example.com"; want https://`},
		"http to IP":  {Endpoint{URL: "http://10.0.0.1", Model: "m", KeyFile: key}, "want https://"},
		"lookalike":   {Endpoint{URL: "http://localhost.example.com", Model: "m", KeyFile: key}, "want https://"},
		"no host":     {Endpoint{URL: "https:///v1", Model: "m", KeyFile: key}, "want https://"},
		"scheme":      {Endpoint{URL: "ftp://localhost", Model: "m", KeyFile: key}, "want https://"},
		"no URL":      {Endpoint{URL: "https://%zz" + standin.Key, Model: "m", KeyFile: key}, "url is not a URL"},
		"user":        {Endpoint{URL: "https://me:" + standin.Key + "@models.example.com", Model: "m", KeyFile: key}, "without user or query"},
		"query":       {Endpoint{URL: "https://models.example.com?key=" + standin.Key, Model: "m", KeyFile: key}, "without user or query"},
		"no model":    {Endpoint{URL: "https://models.example.com", KeyFile: key}, "model is empty"},
		"temperature": {Endpoint{URL: "https://models.example.com", Model: "m", KeyFile: key, Temperature: &hot}, "temperature is 2.1; want a number from 0 to"},
		"no key":      {Endpoint{URL: "https://models.example.com", Model: "m", KeyFile: key + ".absent"}, "keyFile: reading a secret"},
	} {
		for _, p := range providers()[:2] {
			_, err := p.dial(c.e)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v; want %q", p.name, name, err, c.want)
			}
			clean(t, err, standin.Key)
		}
	}
	for _, url := range []string{"https://models.example.com/v1", "http://localhost:1", "http://127.0.0.1:1/v1/", "http://[::1]:1"} {
		for _, p := range providers() {
			if _, err := p.dial(Endpoint{URL: url, Model: "m", KeyFile: key}); err != nil {
				t.Errorf("%s at %s: %v", p.name, url, err)
			}
		}
	}
	if _, err := NewAnthropic(Endpoint{URL: AnthropicURL, Model: "m"}); err == nil || !strings.Contains(err.Error(), "keyFile is empty") {
		t.Errorf("Anthropic without a key: %v", err)
	}
	if _, err := NewOpenAI(OpenAIOptions{Endpoint: Endpoint{URL: OpenAIURL, Model: "m"}, MaxTokensAs: "tokens"}); err == nil || !strings.Contains(err.Error(), `maxTokensAs is "tokens"; want max_completion_tokens or max_tokens`) {
		t.Errorf("OpenAI with another field: %v", err)
	}
}

// TestModelTakesWhatIsAsked: the schemas are of the part of JSON Schema that all
// providers take.
func TestModelTakesWhatIsAsked(t *testing.T) {
	onProviders(t, func(t *testing.T, r rig) {
		for name, p := range map[string]Prompt{
			"summary": {System: instructions, User: "u", Name: "summary", Schema: summarySchema, MaxTokens: 1500},
			"verdict": {System: judging, User: "u", Name: "verdict", Schema: judgementSchema, MaxTokens: judgementTokens},
		} {
			if _, err := r.model.Complete(t.Context(), p); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
