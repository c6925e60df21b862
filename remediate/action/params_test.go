package action_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validate "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kmend/kmend/remediate/action"
)

type params struct {
	Factor  float64     `json:"factor,omitempty"`
	Max     action.CPUs `json:"max"`
	Restart bool        `json:"allowRestart,omitempty"`
}

type Waiting struct {
	Wait string `json:"wait,omitempty"`
}

func TestDecodeOfEmbedded(t *testing.T) {
	var p struct {
		Waiting
		Max string `json:"max"`
	}
	if err := action.Decode(map[string]any{"wait": "3s", "max": "4"}, &p); err != nil || p.Wait != "3s" || p.Max != "4" {
		t.Errorf("%+v %v", p, err)
	}
	if err := action.Decode(map[string]any{"weit": "3s"}, &p); err == nil || !strings.Contains(err.Error(), "allowed: max, wait") {
		t.Errorf("error %v", err)
	}
}

func TestDecode(t *testing.T) {
	cases := []struct {
		with map[string]any
		want params
		err  string
	}{
		{with: nil},
		{with: map[string]any{"factor": 2, "max": "4"}, want: params{Factor: 2, Max: 4000}},
		{with: map[string]any{"factor": 1.5, "max": 0.5}, want: params{Factor: 1.5, Max: 500}},
		{with: map[string]any{"max": uint64(3)}, want: params{Max: 3000}},
		{with: map[string]any{"max": "1500m", "allowRestart": true}, want: params{Max: 1500, Restart: true}},
		{with: map[string]any{"facter": 2}, err: "with.facter: unknown parameter; allowed: allowRestart, factor, max"},
		{with: map[string]any{"Factor": 2}, err: "with.Factor: unknown parameter"},
		{with: map[string]any{"factor": "2"}, err: "with.factor: 2 is not a number"},
		{with: map[string]any{"allowRestart": "yes"}, err: "with.allowRestart: yes is not true or false"},
		{with: map[string]any{"max": "lots"}, err: `with.max: "lots" is not a number of CPUs; write for example 2, 0.5 or 500m`},
		{with: map[string]any{"max": -1}, err: "with.max: \"-1\" CPUs is out of bounds"},
		{with: map[string]any{"max": "0.0001"}, err: "in steps of 0.001"},
		{with: map[string]any{"max": "NaN"}, err: "not a number of CPUs"},
		{with: map[string]any{"max": nil}, err: "not a number of CPUs"},
		{with: map[string]any{"max": []int{1}}, err: "not a number of CPUs"},
		{with: map[string]any{"max": make(chan int)}, err: "with.max: "},
	}
	for _, c := range cases {
		var got params
		err := action.Decode(c.with, &got)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("Decode(%v): error %v, want %q", c.with, err, c.err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("Decode(%v) = %+v, %v; want %+v", c.with, got, err, c.want)
		}
	}
}

func TestFactor(t *testing.T) {
	for in, want := range map[float64]float64{0: 2, 1.5: 1.5, 10: 10} {
		if got, err := action.Factor(in); err != nil || got != want {
			t.Errorf("Factor(%v) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, bad := range []float64{1, -2, 0.5, 11} {
		if _, err := action.Factor(bad); err == nil {
			t.Errorf("Factor(%v) was accepted", bad)
		}
	}
}

func TestCPUsString(t *testing.T) {
	for in, want := range map[action.CPUs]string{300: "0.3 CPU", 1000: "1 CPU", 1: "0.001 CPU", 12500: "12.5 CPU"} {
		if in.String() != want {
			t.Errorf("%d: %q, want %q", int64(in), in.String(), want)
		}
	}
}

// The schema that editors use accepts what Decode accepts.
func TestCPUsSchema(t *testing.T) {
	r := jsonschema.Reflector{DoNotReference: true}
	b, err := json.Marshal(r.Reflect(&params{}))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validate.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	c := validate.NewCompiler()
	if err := c.AddResource("params.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("params.json")
	if err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{
		`{"max":"4"}`: true, `{"max":0.5}`: true, `{"max":"500m"}`: true, `{"max":2,"factor":3}`: true,
		`{"max":"lots"}`: false, `{"max":0}`: false, `{"max":true}`: false, `{"factor":2}`: false,
	} {
		v, err := validate.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != ok {
			t.Errorf("%s: schema says %v", text, err)
		}
	}
}
