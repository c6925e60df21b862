package monitoring

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of metrics in docs/monitoring.md")

const (
	tableBegins = "<!-- metrics: go test ./test/monitoring -run TestTable -update -->\n"
	tableEnds   = "<!-- end of metrics -->"
)

// ofTheAgent are the packages that kmend-agent links.
var ofTheAgent = []string{"diagnose/agent", "diagnose/agent/tokenreview"}

// table says every metric that is exported.
func table(t *testing.T) string {
	all, by := exported(t)
	var kmend, agents []string
	for dir, names := range by {
		if slices.Contains(ofTheAgent, dir) {
			agents = append(agents, names...)
		} else {
			kmend = append(kmend, names...)
		}
	}
	var b strings.Builder
	for _, part := range []struct {
		title string
		names []string
	}{{"kmend", kmend}, {"kmend-agent", agents}} {
		fmt.Fprintf(&b, "\n### %s\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n", part.title)
		for _, name := range slices.Sorted(slices.Values(part.names)) {
			m := all[name]
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, labelled(m), strings.ReplaceAll(m.help, "|", `\|`))
		}
	}
	return b.String() + "\n"
}

// labelled are the labels, with their values where these are known and few.
func labelled(m metric) string {
	var out []string
	for _, l := range m.labels {
		text := "`" + l + "`"
		values := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(m.values[l]))), func(v string) bool { return v == "" })
		switch {
		case l == "cause":
			text += ": [as kmend calls them](diagnosis.md)"
		case len(values) > 1:
			text += ": " + strings.Join(values, ", ")
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// The table in docs/monitoring.md is that of what is exported.
func TestTable(t *testing.T) {
	const file = root + "/docs/monitoring.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	have, after, ends := strings.Cut(rest, tableEnds)
	if !ok || !ends {
		t.Fatalf("%s has no place for the table between %q and %q", file, tableBegins, tableEnds)
	}
	want := table(t)
	if *update {
		if err := os.WriteFile(file, []byte(before+tableBegins+want+tableEnds+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want {
		lines := map[string]bool{}
		for l := range strings.SplitSeq(have, "\n") {
			lines[l] = true
		}
		for l := range strings.SplitSeq(want, "\n") {
			if !lines[l] {
				t.Errorf("missing: %s", l)
			}
			delete(lines, l)
		}
		t.Errorf("the table is not that of what is exported; too much: %q; run go test ./test/monitoring -run TestTable -update", slices.Sorted(maps.Keys(lines)))
	}
}
