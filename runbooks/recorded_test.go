package runbooks

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
)

// The cgroups of a container of pod 11-22, of its pod, and of a unit.
const (
	someUID       = "11-22"
	someContainer = "/kubepods.slice/kubepods-pod11_22.slice/cri-containerd-c1.scope"
	somePod       = "/kubepods.slice/kubepods-pod11_22.slice"
	someUnit      = "/system.slice/cart.service"
)

// answers are what kmend measured and said in the laboratory, by kernel and case.
func answers(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, file := range cases(t, "../test/lab/testdata/*.json.gz") {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var run struct{ Answers map[string]json.RawMessage }
		if err := json.NewDecoder(z).Decode(&run); err != nil {
			t.Fatal(err)
		}
		for name, answer := range run.Answers {
			out[filepath.Base(file)+" "+name] = string(answer)
		}
	}
	return out
}

// about is a measurement as if its cgroup were another one: the names in it change,
// and nothing that was measured. The target is that of an alert about it.
func about(t *testing.T, answer, group string, target incident.Target) incident.Incident {
	t.Helper()
	var d incident.Diagnosis
	if err := json.Unmarshal([]byte(answer), &d); err != nil {
		t.Fatal(err)
	}
	was := d.Target.Cgroup[strings.Index(d.Target.Cgroup, "/svc"):]
	if err := json.Unmarshal([]byte(strings.ReplaceAll(answer, was, group)), &d); err != nil {
		t.Fatal(err)
	}
	alert := target
	target.Cgroup, target.Node = "/sys/fs/cgroup"+group, "node-3"
	if target.Pod != "" {
		target.PodUID = someUID
	}
	d.Target = target
	return incident.Incident{ID: "x", Target: alert, Alerts: []incident.Alert{{Labels: map[string]string{}}}, Diagnosis: &d}
}

// taken is the runbook that ships for an incident.
func taken(t *testing.T, set *Set, inc incident.Incident) string {
	t.Helper()
	plan, ok, why, err := set.Plan(inc)
	if err != nil || !ok {
		t.Fatalf("no runbook: %s (%v)", why, err)
	}
	return plan.Runbook
}

// Everything that was ever confirmed in the laboratory, as if it were about a pod, a
// systemd unit or a plain cgroup, gets the runbook that fits: one that acts where the
// evidence is for it, else the report.
func TestRecordedMeasurements(t *testing.T) {
	set, err := Builtin(specs())
	if err != nil {
		t.Fatal(err)
	}
	// What acts, by the target; every other cause is reported, net.retransmit with the
	// one peer of the laboratory, and cpu.saturated where the alert asks for nothing.
	acts := map[string]map[incident.Cause]string{
		"pod": {
			incident.CPUThrottled: "raise-cpu-limit-kubernetes", incident.MemReclaim: "raise-memory-limit-kubernetes",
			incident.MemOOM: "raise-memory-limit-after-oom-kubernetes",
		},
		"unit":   {incident.CPUThrottled: "raise-cpu-limit-cgroup", incident.MemReclaim: "raise-memory-limit-systemd"},
		"cgroup": {incident.CPUThrottled: "raise-cpu-limit-cgroup"},
	}
	places := map[string]struct {
		group  string
		target incident.Target
	}{
		"pod":    {someContainer, incident.Target{Namespace: "shop", Pod: "cart-1", Container: "app"}},
		"unit":   {someUnit, incident.Target{Node: "node-3", Unit: "cart.service"}},
		"cgroup": {"/batch", incident.Target{Node: "node-3", Cgroup: "/sys/fs/cgroup/batch"}},
	}
	counts := map[incident.Cause]int{}
	for name, answer := range answers(t) {
		for kind, at := range places {
			inc := about(t, answer, at.group, at.target)
			root, confirmed := inc.Diagnosis.RootCause()
			if !confirmed {
				if _, ok, _, _ := set.Plan(inc); ok {
					t.Errorf("%s: a plan for what is %s", name, inc.Diagnosis.Verdict)
				}
				continue
			}
			counts[root.Cause]++
			want := acts[kind][root.Cause]
			if want == "" {
				want = "report-" + strings.ReplaceAll(strings.ReplaceAll(string(root.Cause), ".", "-"), "_", "-")
			}
			if got := taken(t, set, inc); got != want {
				t.Errorf("%s about a %s: %s, want %s: %s", name, kind, got, want, root.Message)
			}
		}
	}
	for _, c := range incident.Causes() {
		if counts[c] == 0 && c != incident.CPUSteal { // no machine of ours was robbed enough
			t.Errorf("no measurement of %s", c)
		}
	}
}

// The same figures, of another group or beside other evidence: the limit is not the
// target's own, or not what holds it up, and a person has to look.
func TestTheWrongEvidenceIsReported(t *testing.T) {
	set, err := Builtin(specs())
	if err != nil {
		t.Fatal(err)
	}
	pod := incident.Target{Namespace: "shop", Pod: "cart-1", Container: "app"}
	unit := incident.Target{Node: "node-3", Unit: "cart.service"}
	change := func(metric string, f func(e *incident.Evidence)) func(*incident.Incident) {
		return func(inc *incident.Incident) {
			for i := range inc.Diagnosis.Evidence {
				if e := &inc.Diagnosis.Evidence[i]; e.Metric == metric {
					f(e)
				}
			}
		}
	}
	nodeShort := func(inc *incident.Incident) {
		inc.Diagnosis.Evidence = append(inc.Diagnosis.Evidence, incident.Evidence{ID: "e999", Probe: "memory", Metric: "reclaim_direct_time", Value: 1e6, Unit: "ms"})
	}
	labelled := func(value string) func(*incident.Incident) {
		return func(inc *incident.Incident) { inc.Alerts[0].Labels["kmend_scale"] = value }
	}
	deeper := func(inc *incident.Incident) { // front has the label, and waits for what was measured
		labelled("replicas")(inc)
		inc.Diagnosis.Investigation = &incident.Investigation{Root: 1, Hops: []incident.Hop{{Target: inc.Target, Via: incident.ViaAlert}, {Target: pod, Via: incident.ViaSocket}}}
		inc.Target.Pod = "front-1"
	}
	morePeers := func(inc *incident.Incident) {
		for _, peer := range []string{"10.0.0.1:80", "10.0.0.2:80"} {
			inc.Diagnosis.Evidence = append(inc.Diagnosis.Evidence, incident.Evidence{ID: peer, Probe: "tcp", Metric: "retransmits", Subject: peer, Value: 7, Unit: "segments"})
		}
	}
	all := answers(t)
	for _, tt := range []struct {
		name, measured, group string
		target                incident.Target
		change                func(*incident.Incident)
		want                  string
	}{
		{"the container's limit", "cache/c, strong", someContainer, pod, nil, "raise-memory-limit-kubernetes"},
		{"the pod's limit", "cache/c, strong", somePod, pod, nil, "raise-memory-limit-kubernetes"},
		{"the limit of all pods", "cache/c, strong", "/kubepods.slice", pod, nil, "report-mem-reclaim"},
		{"another pod's limit", "cache/c, strong", "/kubepods.slice/kubepods-pod33_44.slice", pod, nil, "report-mem-reclaim"},
		{"a short node", "cache/c, strong", someContainer, pod, nodeShort, "report-mem-reclaim"},
		{"a limit that was not reached", "cache/c, strong", someContainer, pod, change("hit_limit", func(e *incident.Evidence) { e.Value = 0 }), "report-mem-reclaim"},
		{"a limit that is far", "cache/c, strong", someContainer, pod, change("limit", func(e *incident.Evidence) { e.Value *= 2 }), "report-mem-reclaim"},
		{"the unit's limit", "cache/c, strong", someUnit, unit, nil, "raise-memory-limit-systemd"},
		{"a unit's limit that was not reached", "cache/c, strong", someUnit, unit, change("hit_limit", func(e *incident.Evidence) { e.Value = 0 }), "report-mem-reclaim"},
		{"the limit of the slice", "cache/c, strong", "/system.slice", unit, nil, "report-mem-reclaim"},
		{"a short node under a unit", "cache/c, strong", someUnit, unit, nodeShort, "report-mem-reclaim"},
		{"a unit's limit that is far", "cache/c, strong", someUnit, unit, change("limit", func(e *incident.Evidence) { e.Value *= 2 }), "report-mem-reclaim"},
		{"killed at the container's limit", "killed/c, once", someContainer, pod, nil, "raise-memory-limit-after-oom-kubernetes"},
		{"killed at the limit of all pods", "killed/c, once", "/kubepods.slice", pod, nil, "report-mem-oom"},
		{"killed for a short node", "killed/c, once", someContainer, pod, change("oom_limit", func(e *incident.Evidence) { e.Metric = "oom_node" }), "report-mem-oom"},
		{"one peer", "loss/c, strong", someContainer, pod, nil, "report-net-retransmit"},
		{"three peers", "loss/c, strong", someContainer, pod, morePeers, "leave-service-on-loss"},
		{"three peers of no pod", "loss/c, strong", someUnit, unit, morePeers, "report-net-retransmit"},
		{"more replicas are asked for", "crowd/c, strong", someContainer, pod, labelled("replicas"), "scale-out"},
		{"more replicas of another one are asked for", "crowd/c, strong", someContainer, pod, deeper, "report-cpu-saturated"},
		{"more of an autoscaler is asked for", "crowd/c, strong", someContainer, pod, labelled("autoscaler"), "raise-autoscaler-maximum"},
		{"something else is asked for", "crowd/c, strong", someContainer, pod, labelled("everything"), "report-cpu-saturated"},
		{"more replicas of a unit are asked for", "crowd/c, strong", someUnit, unit, labelled("replicas"), "report-cpu-saturated"},
	} {
		var kernels int
		for _, kernel := range slices.Sorted(maps.Keys(all)) {
			if !strings.HasSuffix(kernel, " "+tt.measured) {
				continue
			}
			kernels++
			inc := about(t, all[kernel], tt.group, tt.target)
			inc.Diagnosis.Target.Cgroup = path.Join("/sys/fs/cgroup", map[bool]string{true: someContainer, false: someUnit}[tt.target.Pod != ""])
			if tt.change != nil {
				tt.change(&inc)
			}
			if got := taken(t, set, inc); got != tt.want {
				t.Errorf("%s (%s): %s, want %s", tt.name, kernel, got, tt.want)
			}
			var fit []string // the order of the files decides nothing
			for _, b := range set.books {
				only, _ := set.Only(b.Metadata.Name)
				if _, ok, _, _ := only.Plan(inc); ok && b.report == nil {
					fit = append(fit, b.Metadata.Name)
				}
			}
			if len(fit) > 1 {
				t.Errorf("%s (%s): several that act: %q", tt.name, kernel, fit)
			}
		}
		if kernels != 3 {
			t.Errorf("%s: measured on %d kernels", tt.name, kernels)
		}
	}
}

// Of a unit the limit is raised that was hit.
func TestWhichLimitOfAUnit(t *testing.T) {
	set, err := Builtin(specs())
	if err != nil {
		t.Fatal(err)
	}
	for metric, want := range map[string]string{"limit": "MemoryMax", "high": "MemoryHigh"} {
		for name, answer := range answers(t) {
			if !strings.HasSuffix(name, " cache/c, strong") {
				continue
			}
			// memory.high says the same, where it is the one that is hit.
			answer = strings.NewReplacer(`"metric":"limit"`, `"metric":"`+metric+`"`, `"metric":"hit_limit"`, `"metric":"hit_`+metric+`"`).Replace(compact(t, answer))
			inc := about(t, answer, someUnit, incident.Target{Node: "node-3", Unit: "cart.service"})
			for subject, hits := range map[string]float64{someUnit: 0, "/system.slice": 3} { // neither is what held it up
				inc.Diagnosis.Evidence = append(inc.Diagnosis.Evidence, incident.Evidence{Probe: "memory", Metric: "hit_high", Subject: subject, Value: hits})
			}
			plan, ok, why, err := set.Plan(inc)
			if err != nil || !ok || plan.Runbook != "raise-memory-limit-systemd" {
				t.Fatalf("%s, %s: %+v %s %v", name, metric, plan, why, err)
			}
			if got := plan.Steps[0].With["property"]; got != want {
				t.Errorf("%s, %s: %v, want %s", name, metric, got, want)
			}
		}
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
