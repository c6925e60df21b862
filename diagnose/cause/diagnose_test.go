package cause

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/kmend/kmend/incident"
)

var update = flag.Bool("update", false, "write want.json from what Diagnose answers; read the difference before you commit it")

// want is the part of a diagnosis that Diagnose decides.
type want struct {
	Verdict  incident.Verdict   `json:"verdict"`
	Findings []incident.Finding `json:"findings"`
}

// TestCases: testdata/CASE/measurement.json in, want.json out. A case is added
// by adding a folder. They hold the rules: some were measured, many had figures
// edited or are made up (node n1), to stand where no machine gets to. What kernels
// say of real faults is in test/lab/testdata.
func TestCases(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/measurement.json")
	if err != nil || len(dirs) < 20 {
		t.Fatalf("found %d cases (%v), want the ones in testdata", len(dirs), err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var m incident.Measurement
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			d := Diagnose(m)
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(want{d.Verdict, d.Findings}); err != nil {
				t.Fatal(err)
			}
			wantFile := filepath.Join(dir, "want.json")
			if *update {
				if err := os.WriteFile(wantFile, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			w, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), w) {
				t.Errorf("got\n%swant\n%s", got.Bytes(), w)
			}
		})
	}
}
