package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kmend/kmend/diagnose/cause"
	"github.com/kmend/kmend/incident"
)

var pack = flag.String("pack", "", "write testdata/KERNEL.json.gz from the folder of a run of the whole lab with -keep")

// kept is what is kept of a run of the lab.
type kept struct {
	Kernel  string
	Date    string
	Answers map[string]json.RawMessage // kmend's, by the case's name; none where the fault was not made
}

// wrong are the cases that kmend is known to get wrong, by kernel; docs/diagnosis.md
// says why.
var wrong = map[string][]string{
	"6.1.0-56-cloud-amd64":       {"late/redis that computes", "two/quota and crowd"},
	"6.12.117+deb12-cloud-amd64": {"convoy/c, short-lived threads", "cache/from the disk, 2 threads"},
}

// TestReplay judges what was measured in the lab once more: a change of a threshold
// or of a rule must be right about every fault and every healthy control that was
// ever measured. It does not take the lab's place, which measures anew.
func TestReplay(t *testing.T) {
	if *pack != "" {
		packRun(t, *pack)
	}
	files, err := filepath.Glob("testdata/*.json.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no runs of the lab in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			r := unpack(t, file)
			var judged []result
			for _, c := range allTrials() {
				answer, ok := r.Answers[c.name]
				if !ok {
					continue
				}
				// What kmend measured is all in its answer; what it concluded is not looked at.
				var m incident.Measurement
				if err := json.Unmarshal(answer, &m); err != nil {
					t.Fatal(err)
				}
				b, err := json.Marshal(cause.Diagnose(m))
				if err != nil {
					t.Fatal(err)
				}
				var d diagnosis
				if err := json.Unmarshal(b, &d); err != nil {
					t.Fatal(err)
				}
				bad, known := c.judge(d), slices.Contains(wrong[r.Kernel], c.name)
				if (bad != "") != known {
					t.Errorf("%s: %q, known to be wrong: %v: %s", c.name, bad, known, d.Findings[0].Message)
				}
				judged = append(judged, result{Name: c.name, Expected: c.expect, Found: d.found(), Wrong: bad})
			}
			if len(judged) != len(r.Answers) || len(judged) < 60 {
				t.Errorf("%d cases judged of %d measured", len(judged), len(r.Answers))
			}
			var matrix bytes.Buffer
			tabulate(judged).print(&matrix)
			t.Logf("%s, %d cases\n%s", r.Kernel, len(judged), &matrix)
		})
	}
}

func unpack(t *testing.T, file string) (r kept) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err == nil {
		err = json.NewDecoder(z).Decode(&r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func packRun(t *testing.T, folder string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, accountFile))
	var a account
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := kept{Kernel: a.Kernel, Date: a.Date, Answers: map[string]json.RawMessage{}}
	for _, c := range a.Cases {
		answer, err := os.ReadFile(filepath.Join(folder, fileName(c.Name)+".json"))
		switch {
		case errors.Is(err, fs.ErrNotExist): // not measured
		case err != nil:
			t.Fatal(err)
		case c.made():
			r.Answers[c.Name] = answer
		}
	}
	f, err := os.Create(filepath.Join("testdata", a.Kernel+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	if err := errors.Join(json.NewEncoder(z).Encode(r), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
