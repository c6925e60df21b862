package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// answer is what kmend would print with these causes confirmed, in this order.
func answer(verdict string, causes ...string) diagnosis {
	d := diagnosis{Verdict: verdict}
	for _, c := range causes {
		d.Findings = append(d.Findings, finding{Cause: c, Verdict: "confirmed", Share: 0.5})
	}
	if len(causes) == 0 {
		d.Findings = []finding{{Verdict: verdict}}
	}
	return d
}

func TestJudge(t *testing.T) {
	one := trial{expect: diskSlow}
	either := trial{expect: gcPause, or: []string{throttled}}
	two := trial{expect: userLock, with: []string{busy}}
	control := trial{expect: healthy}
	for _, c := range []struct {
		name  string
		t     trial
		d     diagnosis
		wrong string // part of what is said; empty: right
	}{
		{"the cause", one, answer("confirmed", diskSlow), ""},
		{"the cause and another", one, answer("confirmed", diskSlow, busy), ""},
		{"another before it", one, answer("confirmed", busy, diskSlow), "found cpu.busy first, not disk.latency"},
		{"clean", one, answer("clean"), "found clean first"},
		{"inconclusive", one, answer("inconclusive"), "found inconclusive first"},
		{"nothing at all", one, diagnosis{}, "found  first"},
		{"one of two that are close", either, answer("confirmed", throttled), ""},
		{"neither of them", either, answer("confirmed", saturated), "not jvm.gc_pause or cpu.throttled"},
		{"both faults", two, answer("confirmed", userLock, busy), ""},
		{"the second is missing", two, answer("confirmed", userLock), "cpu.busy is not among the findings"},
		{"both, the wrong way round", two, answer("confirmed", busy, userLock), "found cpu.busy first"},
		{"healthy and clean", control, answer("clean"), ""},
		{"healthy and not sure", control, answer("inconclusive"), ""},
		{"a false alarm", control, answer("confirmed", dbLock), "healthy target: db.lock_wait"},
	} {
		got := c.t.judge(c.d)
		if c.wrong == "" && got != "" || c.wrong != "" && !strings.Contains(got, c.wrong) {
			t.Errorf("%s: %q, want %q", c.name, got, c.wrong)
		}
	}
}

// The first finding may be a doubt that outweighs a confirmed one.
func TestFoundIsTheFirstFinding(t *testing.T) {
	d := diagnosis{Verdict: "inconclusive", Findings: []finding{{Verdict: "inconclusive"}, {Cause: busy, Verdict: "confirmed"}}}
	if got := d.found(); got != "inconclusive" {
		t.Errorf("found %q", got)
	}
}

func results(faulty, right, controls, alarms int) []result {
	var out []result
	for i := range faulty {
		r := result{Expected: oom, Found: oom}
		if i >= right {
			r.Found, r.Wrong = "clean", "found clean"
		}
		out = append(out, r)
	}
	for i := range controls {
		r := result{Expected: healthy, Found: "clean"}
		if i < alarms {
			r.Found, r.Wrong = busy, "confirmed"
		}
		out = append(out, r)
	}
	return out
}

func TestTotals(t *testing.T) {
	off := results(1, 1, 0, 0)
	off[0].LedgerOff = 0.011
	skipped := []result{{Expected: gcPause, Skipped: "no java"}}
	for _, c := range []struct {
		name string
		in   []result
		want string // of the failures; empty: none
	}{
		{"all right", results(50, 50, 15, 0), ""},
		{"98%", results(50, 49, 15, 0), ""},
		{"less", results(49, 48, 15, 0), "48 of 49 faults right"},
		{"a false alarm", results(50, 50, 15, 1), "1 of 15 healthy controls"},
		{"a ledger", off, "off by 1.10%"},
		{"nothing ran", skipped, "no case ran"},
		{"what was skipped does not count", append(results(1, 1, 1, 0), skipped...), ""},
	} {
		got := strings.Join(count(c.in).failures(), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMatrix(t *testing.T) {
	in := append(results(3, 2, 2, 1), result{Expected: throttled, Found: "error", Wrong: "x"}, result{Expected: gcPause, Skipped: "no java"})
	var b bytes.Buffer
	tabulate(in).print(&b)
	want := `| expected \ found first | cpu.busy | mem.oom | clean | error |
|---                     |---:      |---:     |---:   |---:   |
| cpu.throttled          |          |         |       | 1     |
| mem.oom                |          | 2       | 1     |       |
| healthy                | 1        |         | 1     |       |
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// A cause that the lab does not know must not fall out of the matrix.
func TestMatrixHasWhatWasFound(t *testing.T) {
	var b bytes.Buffer
	tabulate([]result{{Expected: busy, Found: "gpu.hot"}}).print(&b)
	if !strings.Contains(b.String(), "gpu.hot") {
		t.Errorf("no gpu.hot in\n%s", b.String())
	}
}

// The JSON is a contract too: others draw the published matrix from it.
func TestJSON(t *testing.T) {
	r := result{Name: "disk/x", Expected: diskSlow}
	var d diagnosis
	if err := json.Unmarshal([]byte(`{"verdict":"confirmed","findings":[{"cause":"disk.latency","verdict":"confirmed","share":0.8,"message":"m"}],
		"evidence":[{"metric":"cpu_others","value":1.5},{"metric":"cpu_holder","subject":"/svc1/b","value":0.9},{"metric":"cpu_holder","subject":"/svc10/b","value":0.2}],
		"ledger":{"threads":2,"wall_ms":6000,"states":{"io":4000,"sleep":1940}},
		"probes":[{"name":"threads","status":"ok"},{"name":"net","status":"unsupported","reason":"r"}],"cost":{"cpu_ms":3}}`), &d); err != nil {
		t.Fatal(err)
	}
	r.fill(d)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"found":"disk.latency"`, `"share":0.8`, `"message":"m"`, `"ledger_off":0.01`, `"io":4000`, `"probes_not_ok":[{"name":"net"`, `"attempts":null`, `"agent_cpu_ms":3`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	if got := d.strangers("svc1"); got < 0.59 || got > 0.61 {
		t.Errorf("strangers hold %v CPUs, want 0.6: what svc1 holds is the lab's, what svc10 holds is not", got)
	}
}

// Names are unique, every cause that can be made has weak and strong cases, and
// there are as many as the lab promises.
func TestTrials(t *testing.T) {
	var names []string
	by := map[string]int{}
	for _, c := range allTrials() {
		if slices.Contains(names, c.name) {
			t.Errorf("two cases are called %s", c.name)
		}
		names = append(names, c.name)
		by[c.expect]++
		if len(c.or) > 0 && c.why == "" {
			t.Errorf("%s: it does not say why another cause is as right", c.name)
		}
	}
	if len(names) < 60 || by[healthy] < 15 {
		t.Errorf("%d cases, %d healthy controls", len(names), by[healthy])
	}
	for _, cause := range rowOrder() {
		if cause != "cpu.steal" && by[cause] < 3 { // only the hypervisor can make that
			t.Errorf("%d cases of %s", by[cause], cause)
		}
	}
}

func TestChoose(t *testing.T) {
	got, err := choose(allTrials(), "^convoy/c, strong$|^jvm")
	if err != nil || len(got) < 8 || got[0].name != "convoy/c, strong" {
		t.Errorf("%d cases, %v", len(got), err)
	}
	if _, err := choose(allTrials(), "nothing like it"); err == nil {
		t.Error("no error for a pattern that no case has")
	}
}
