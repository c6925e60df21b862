package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/kmend/kmend/incident"
)

// -update rewrites the wanted outputs: look at the difference before you commit it.
var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- got\n%s\n--- want\n%s", path, got, want)
	}
}

// incidents reads testdata/CASE/incident.json of every case.
func incidents(t *testing.T) map[string]incident.Incident {
	t.Helper()
	paths, err := filepath.Glob("testdata/*/incident.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	all := map[string]incident.Incident{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var inc incident.Incident
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&inc); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[filepath.Dir(path)] = inc
	}
	return all
}

func TestText(t *testing.T) {
	local := time.Local
	time.Local = time.FixedZone("elsewhere", -3*3600-1800) // the report does not depend on it
	t.Cleanup(func() { time.Local = local })
	for dir, inc := range incidents(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			golden(t, filepath.Join(dir, "want.txt"), text(t, inc, DefaultOptions()))
			if inc.Diagnosis != nil {
				var b bytes.Buffer
				if err := Diagnosis(&b, *inc.Diagnosis, DefaultOptions()); err != nil {
					t.Fatal(err)
				}
				golden(t, filepath.Join(dir, "want-diagnosis.txt"), b.String())
			}
		})
	}
}

func text(t *testing.T, inc incident.Incident, opts Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, inc, opts); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWidthIsKept(t *testing.T) {
	for dir, inc := range incidents(t) {
		for _, width := range []int{1, MinWidth, 60, 80, 100, 1000} {
			limit := min(max(width, MinWidth), maxWidth)
			out := text(t, inc, Options{Width: width})
			for line := range strings.Lines(out) {
				if n := cells(strings.TrimSuffix(line, "\n")); n > limit {
					t.Errorf("%s at width %d: a line of %d columns: %q", dir, width, n, line)
				}
			}
			if inc.Diagnosis != nil && len(inc.Diagnosis.Findings) > 0 && width < 1000 {
				message := clean(inc.Diagnosis.Findings[0].Message)
				if !strings.Contains(strings.Join(strings.Fields(out), ""), strings.Join(strings.Fields(message), "")) {
					t.Errorf("%s at width %d: the message is not there: %s", dir, width, message)
				}
			}
		}
	}
}

// Colour adds SGR sequences and changes nothing else; without it there is none.
func TestColorAddsNothingButColor(t *testing.T) {
	for dir, inc := range incidents(t) {
		without, with := text(t, inc, Options{}), text(t, inc, Options{Color: true})
		if strings.ContainsRune(without, '\x1b') {
			t.Errorf("%s: escape sequences without colour", dir)
		}
		if !strings.Contains(with, "\x1b[") || stripped(with) != stripped(without) {
			t.Errorf("%s: colour changes the text\n%s", dir, with)
		}
	}
}

// stripped is a text without SGR sequences and without blanks at the ends of lines.
func stripped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\x1b' {
			for s[i] != 'm' {
				i++
			}
			continue
		}
		b.WriteByte(s[i])
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// attack is put into every text of an incident.
const attack = "\x1b]0;pwned\x07\x1b[2J\u009b31m\u202Eevil\u2066\u200b\r\nDecision   allow\x00\x7f\xff\u2028\U000E0041"

func TestHostileTextIsHarmless(t *testing.T) {
	for dir, inc := range incidents(t) {
		hostile := poison(t, inc)
		for _, color := range []bool{false, true} {
			out := stripped(text(t, hostile, Options{Color: color}))
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "Decision   allow") && len(inc.Decisions) == 0 {
					t.Errorf("%s: a text makes a line of its own: %q", dir, line)
				}
				for _, r := range strings.TrimSuffix(line, "\n") {
					if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' {
						t.Fatalf("%s: %U in %q", dir, r, line)
					}
				}
			}
		}
		var b bytes.Buffer
		if err := JSON(&b, hostile); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r)) {
				t.Fatalf("%s: %U in the JSON", dir, r)
			}
		}
		var back, want incident.Incident
		plain, err := json.Marshal(hostile)
		if err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(b.Bytes(), &back) != nil || json.Unmarshal(plain, &want) != nil {
			t.Fatalf("%s: the JSON does not read back", dir)
		}
		got, _ := json.Marshal(back)
		if again, _ := json.Marshal(want); !bytes.Equal(got, again) {
			t.Errorf("%s: the JSON reads back as something else", dir)
		}
		b.Reset()
		if err := List(&b, []incident.Incident{hostile}); err != nil || strings.Count(b.String(), "\n") != 2 || strings.ContainsAny(b.String(), "\x1b\u009b\u202e") {
			t.Errorf("%s: the list is %q (%v)", dir, b.String(), err)
		}
	}
}

// poison puts attack in front of every text that the incident holds.
func poison[T any](t *testing.T, inc T) (out T) {
	t.Helper()
	raw, err := json.Marshal(inc)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	raw, err = json.Marshal(poisoned(v, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// times and durations have to stay what they are to be read at all.
var kept = map[string]bool{
	"startsAt": true, "endsAt": true, "receivedAt": true, "closedAt": true, "start": true, "at": true,
	"created": true, "started": true, "ended": true, "settle": true, "window": true,
	// These decide what is shown.
	"phase": true, "outcome": true, "verdict": true, "cause": true,
}

func poisoned(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = poisoned(v[k], k)
		}
	case []any:
		for i := range v {
			v[i] = poisoned(v[i], key)
		}
	case string:
		if !kept[key] {
			return attack + v
		}
	}
	return v
}

func TestList(t *testing.T) {
	all := incidents(t)
	var some []incident.Incident
	for _, name := range []string{"fixed", "dry_run", "awaiting_approval", "no_target", "clean", "storm", "flapping"} {
		some = append(some, all[filepath.Join("testdata", name)])
	}
	var b bytes.Buffer
	if err := List(&b, some); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/list.txt", b.String())
	b.Reset()
	if err := List(&b, nil); err != nil || b.String() != "no incidents\n" {
		t.Errorf("an empty list: %q, %v", b.String(), err)
	}
}
