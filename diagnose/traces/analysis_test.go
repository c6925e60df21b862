package traces

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden answers of testdata/cases")

// Each case has the traces of the alert's window and those from before it, a span
// a line, below its parent:
//
//	SERVICE OPERATION FROM+DURATION [server|client|consumer] [error] [follows] [lost] [KEY=VALUE]...
//
// in ms; an empty line ends a trace; a lost span is a parent that is missing. The
// line "times N" before a trace makes N of it.
func TestAnalyse(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range a.Files {
				parts[f.Name] = string(f.Data)
			}
			got := text(Analyse(strings.Fields(parts["services"]), spansOf(t, parts["now"]), spansOf(t, parts["before"])))
			if *update {
				for i := range a.Files {
					if a.Files[i].Name == "want" {
						a.Files[i].Data = []byte(got)
					}
				}
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != parts["want"] && !*update {
				t.Errorf("got\n%swant\n%s", got, parts["want"])
			}
		})
	}
}

// text shows a way.
func text(w Way) string {
	out := w.Message + "\n"
	for _, s := range w.Stops {
		out += "- " + s.Service + ": " + s.Why
		if !s.Target.IsZero() {
			out += " | " + s.Target.String()
			if s.Target.Node != "" {
				out += " on " + s.Target.Node
			}
		}
		if s.Address.IsValid() {
			out += " | " + s.Address.String()
		}
		out += "\n"
		for _, e := range s.Evidence {
			if e.Metric == "trace" {
				out += fmt.Sprintf("  %s %v %s\n", e.Subject, e.Value, e.Unit)
			}
		}
	}
	return out
}

// spansOf reads traces as TestAnalyse describes them.
func spansOf(t *testing.T, in string) (all [][]Span) {
	t.Helper()
	for block := range strings.SplitSeq(in, "\n\n") {
		lines, times := strings.Split(strings.Trim(block, "\n"), "\n"), 1
		if n, ok := strings.CutPrefix(lines[0], "times "); ok {
			times, _ = strconv.Atoi(n)
			lines = lines[1:]
		}
		if len(lines) == 0 || lines[0] == "" {
			continue
		}
		for range times {
			id := fmt.Sprintf("t%d", len(all)+1)
			var spans []Span
			var parents []string
			for i, line := range lines {
				depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
				s := Span{Trace: id, ID: fmt.Sprintf("s%d", i+1)}
				if depth > 0 {
					s.Parent = parents[depth-1]
				}
				parents = append(parents[:depth], s.ID)
				if read(t, &s, strings.Fields(line)) {
					spans = append(spans, s)
				}
			}
			all = append(all, spans)
		}
	}
	return all
}

func read(t *testing.T, s *Span, words []string) (kept bool) {
	t.Helper()
	from, duration, ok := strings.Cut(words[2], "+")
	f, err1 := strconv.ParseFloat(from, 64)
	d, err2 := strconv.ParseFloat(duration, 64)
	if !ok || err1 != nil || err2 != nil {
		t.Fatalf("times of %q", words)
	}
	s.Service, s.Name = words[0], words[1]
	s.Start, s.Duration = int64(f*float64(time.Millisecond)), int64(d*float64(time.Millisecond))
	kept = true
	for _, w := range words[3:] {
		switch key, value, is := strings.Cut(w, "="); {
		case is && key == "parent":
			s.Parent = value
		case is && key == "id":
			s.ID = value
		case is:
			if s.Attributes == nil {
				s.Attributes = map[string]string{}
			}
			s.Attributes[key] = value
		case w == "error":
			s.Error = true
		case w == "follows":
			s.Follows = true
		case w == "lost":
			kept = false
		default:
			s.Kind = Kind(w)
		}
	}
	return kept
}

// Ten thousand spans in one trace, wide and deep, are read in well under a second.
func TestAnalyseLarge(t *testing.T) {
	ms := int64(time.Millisecond)
	wide := []Span{{Trace: "w", ID: "r", Service: "front", Duration: 10_000 * ms}}
	deep := []Span{{Trace: "d", ID: "0", Service: "front", Duration: 10_000 * ms}}
	for i := range 10_000 {
		wide = append(wide, Span{Trace: "w", ID: strconv.Itoa(i), Parent: "r", Service: "cart", Start: int64(i) * ms, Duration: ms, Kind: Server})
		deep = append(deep, Span{Trace: "d", ID: strconv.Itoa(i + 1), Parent: strconv.Itoa(i), Service: "s" + strconv.Itoa(i%7), Duration: (10_000 - int64(i)) * ms, Kind: Server})
	}
	began := time.Now()
	w := Analyse([]string{"front"}, [][]Span{wide, deep}, nil)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	// The deep one is cut: what is below its last call counts as that one's own.
	if n := len(w.Stops); n != maxDepth {
		t.Errorf("%d stops (%s), want %d", n, w.Message, maxDepth)
	}
	w = Analyse([]string{"front"}, [][]Span{wide}, nil)
	if n := len(w.Stops); n != 0 { // 10,000 calls of 1 ms: none takes long
		t.Errorf("%d stops: %s", n, w.Message)
	}
}
