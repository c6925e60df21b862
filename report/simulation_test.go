package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/kmend/kmend/incident"
)

// testdata/simulation/NAME.json is what was simulated, NAME.txt what a person reads.
func simulations(t *testing.T) map[string]Simulation {
	t.Helper()
	paths, err := filepath.Glob("testdata/simulation/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	all := map[string]Simulation{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var s Simulation
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[path] = s
	}
	return all
}

var simulatedTarget = incident.Target{Namespace: "shop", Pod: "web-1", Container: "app"}

func TestSimulationText(t *testing.T) {
	for path, s := range simulations(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var b, narrow, again bytes.Buffer
			if err := SimulationText(&b, s, simulatedTarget, DefaultOptions()); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".json")+".txt", b.String())
			if err := SimulationText(&narrow, s, simulatedTarget, Options{Width: MinWidth, Color: true}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(stripped(narrow.String())) {
				if n := cells(strings.TrimSuffix(line, "\n")); n > MinWidth {
					t.Errorf("a line of %d columns: %q", n, line)
				}
			}
			if err := SimulationJSON(&again, s); err != nil {
				t.Fatal(err)
			}
			var back Simulation
			if err := json.Unmarshal(again.Bytes(), &back); err != nil {
				t.Fatal(err)
			}
			one, _ := json.Marshal(s)
			if two, _ := json.Marshal(back); !bytes.Equal(one, two) {
				t.Errorf("the JSON reads back as\n%s\nwant\n%s", two, one)
			}
		})
	}
}

func TestHostileSimulationIsHarmless(t *testing.T) {
	for path, s := range simulations(t) {
		hostile := poison(t, s)
		var text, raw bytes.Buffer
		if err := SimulationText(&text, hostile, simulatedTarget, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := SimulationJSON(&raw, hostile); err != nil {
			t.Fatal(err)
		}
		for _, r := range text.String() + raw.String() {
			if r != '\n' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028') {
				t.Fatalf("%s: %U in the output", path, r)
			}
		}
		if s.Decision == nil && strings.Contains("\n"+text.String(), "\nDecision   allow") {
			t.Errorf("%s: a text makes a line of its own:\n%s", path, text.String())
		}
	}
}
