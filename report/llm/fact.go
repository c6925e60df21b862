package llm

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kmend/kmend/incident"
)

// kind is what a fact is about.
type kind string

const (
	alertKind        kind = "alert" // hostile: who can raise an alert has written it
	targetKind       kind = "target"
	measurementKind  kind = "measurement"
	ledgerKind       kind = "ledger"
	findingKind      kind = "finding"   // not confirmed
	confirmedKind    kind = "confirmed" // a confirmed finding
	evidenceKind     kind = "evidence"
	planKind         kind = "plan"
	decisionKind     kind = "decision"
	approvalKind     kind = "approval"
	executionKind    kind = "execution"
	verificationKind kind = "verification"
	outcomeKind      kind = "outcome"
	eventKind        kind = "event" // of the timeline
	hopKind          kind = "hop"   // of the investigation
	extentKind       kind = "extent"
	observationKind  kind = "observation"
	sourceKind       kind = "sources"
)

// fact is one line of what is known about an incident, under an id that a
// sentence can cite.
type fact struct {
	ID   string `json:"id"`
	Kind kind   `json:"kind"`
	Text string `json:"text"`

	// plan says that the text is about what may be, not about what is.
	plan bool
	// cites are the ids of a finding's evidence.
	cites []string
	// names are what may be repeated of a hostile text.
	names []string
	// mixed: strangers wrote a part of the text. own is what kmend did.
	mixed bool
	own   string
	// zero: the evidence says that there was nothing of it.
	zero bool
}

// facts writes down an incident. Evidence keeps the ids of the diagnosis, what
// kmend knows besides has other letters.
func facts(inc incident.Incident, r Redactor) []fact {
	var all []fact
	add := func(id string, k kind, format string, args ...any) *fact {
		all = append(all, fact{ID: id, Kind: k, Text: fmt.Sprintf(format, args...)})
		return &all[len(all)-1]
	}
	add("o1", outcomeKind, "%s", outcome(inc))
	if inc.Reason != "" {
		// Where a plan was not carried out the reason may say what it would have done.
		add("o2", outcomeKind, "reason: %s", inc.Reason).plan = len(inc.Executions) == 0 && inc.Plan != nil
	}
	for i, a := range inc.Alerts[:min(len(inc.Alerts), maxAlerts)] {
		add(numbered("a", i), alertKind, "%s", alert(a, r)).names = alertNames(a, r)
	}
	add("g1", targetKind, "%s", target(inc))
	if d := inc.Diagnosis; d != nil {
		add("w1", measurementKind, "%s", measurement(*d))
		if text := ledger(d.Ledger); text != "" {
			add("s1", ledgerKind, "%s", text)
		}
		for i, f := range d.Findings {
			k := findingKind
			if f.Verdict == incident.Confirmed && f.Cause != "" {
				k = confirmedKind
			}
			add(numbered("f", i), k, "%s", finding(f)).cites = f.Evidence
		}
		for _, e := range evidenceOf(*d) {
			add(e.ID, evidenceKind, "%s", evidence(e)).zero = e.Value == 0
		}
		all = append(all, investigated(d.Investigation, r)...)
	}
	if p := inc.Plan; p != nil {
		for i, s := range p.Steps {
			add(numbered("p", i), planKind, "%s", step(*p, i, s)).plan = true
		}
		if p.ReportOnly() {
			add("r1", planKind, "runbook %s, for a person: %s", p.Runbook, p.Report).plan = true
		}
	}
	for i, d := range distinct(inc.Decisions) {
		dry := ""
		if d.DryRun {
			dry = " as a dry run"
		}
		add(numbered("d", i), decisionKind, "decision: %s%s by policy %s; rule %s; reason: %s", cmp.Or(words(string(d.Effect)), "deny"), dry, d.Policy, d.Rule, d.Reason)
	}
	for i, a := range inc.Approvals {
		answer := "denied"
		if a.Approve {
			answer = "approved"
		}
		add(numbered("y", i), approvalKind, "plan %s by %s", answer, a.By)
	}
	for i, e := range inc.Executions {
		change := ""
		if e.Before+e.After != "" {
			change = fmt.Sprintf("; changed from %s to %s", e.Before, e.After)
		}
		name := e.Action
		if inc.Plan != nil && e.Step < len(inc.Plan.Steps) {
			name += ", " + inc.Plan.Steps[e.Step].Name
		}
		add(numbered("x", i), executionKind, "step %d: %s; %s%s", e.Step+1, name, e.Result, change)
	}
	if v := inc.Verification; v != nil {
		better, went := "not better", "went"
		if v.Better {
			better = "better"
		}
		if v.After < v.Before {
			went = "fell"
		} else if v.After > v.Before {
			went = "rose"
		}
		_, short, _ := strings.Cut(string(v.Cause), ".")
		before, after := percent(v.Before), percent(v.After)
		add("v1", verificationKind, "verification: %s; %s; share of %s before %s; after %s; %s share %s from %s to %s",
			better, v.Reason, v.Cause, before, after, words(short), went, before, after)
	}
	for i, e := range inc.Timeline[:min(len(inc.Timeline), maxEvents)] {
		f := add(numbered("i", i), eventKind, "%s, %s: %s", e.Phase, words(e.Kind), e.Message)
		f.plan = !slices.Contains([]string{"applied", "undone", "verified", "measured", "confirmed"}, e.Kind)
		if strings.Contains(e.Message, alertName(inc)) {
			f.Kind = alertKind // it repeats what the alert says
		}
	}
	return all
}

func numbered(letter string, i int) string { return letter + strconv.Itoa(i+1) }

func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

func alertName(inc incident.Incident) string {
	if len(inc.Alerts) == 0 || inc.Alerts[0].Name() == "" {
		return "\x00"
	}
	return inc.Alerts[0].Name()
}

func outcome(inc incident.Incident) string {
	if inc.Outcome == "" {
		return "open; phase " + words(string(inc.Phase))
	}
	text := "outcome " + words(string(inc.Outcome))
	if len(inc.Executions) == 0 {
		text += "; nothing was changed"
	}
	return text
}

// alert redacts each label before it is cut: half a secret is not known for one.
func alert(a incident.Alert, r Redactor) string {
	text := fmt.Sprintf("alertname=%s status=%s", a.Name(), a.Status)
	for _, m := range []map[string]string{a.Labels, a.Annotations} {
		for _, name := range slices.Sorted(maps.Keys(m))[:min(len(m), maxLabels)] {
			text += " " + cut(r.Redact(cut(name, maxLabel)+"="+cut(m[name], 50*maxLabel)), maxLabel)
		}
	}
	return text
}

var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// alertNames are what a summary may repeat of an alert: its status, and those of
// its labels that are names and no words, so that they give no orders.
func alertNames(a incident.Alert, r Redactor) []string {
	all := []string{stem(string(a.Status))}
	for name, value := range a.Labels {
		if plainName.MatchString(value) && isName(value) && strings.HasSuffix(r.Redact(name+"="+value), value) {
			all = append(all, value)
		}
	}
	return all
}

func target(inc incident.Incident) string {
	t, parts := inc.Aim(), []string{}
	if inc.Diagnosis != nil {
		t = t.Over(inc.Diagnosis.Target)
	}
	parts = append(parts, "target "+t.String())
	for _, f := range []struct{ name, value string }{
		{"node", t.Node}, {"cluster", t.Cluster}, {"namespace", t.Namespace}, {"pod", t.Pod}, {"container", t.Container}, {"workload", t.Workload}, {"service", t.Service}, {"unit", t.Unit}, {"cgroup", t.Cgroup},
	} {
		if f.value != "" {
			parts = append(parts, f.name+" "+f.value)
		}
	}
	if d := inc.Diagnosis; d != nil {
		if d.Node.Name != "" {
			parts = append(parts, "node "+d.Node.Name)
		}
		parts = append(parts, "Linux "+d.Node.Kernel, fmt.Sprintf("%d CPUs", d.Node.CPUs))
	}
	return strings.Join(parts, "; ")
}

func measurement(d incident.Diagnosis) string {
	text := fmt.Sprintf("verdict %s; measured for %s s; %d threads", d.Verdict, number(d.Window.Seconds), d.Ledger.Threads)
	for _, c := range d.NotMeasured {
		text += fmt.Sprintf("; not measured %s", c)
	}
	for _, p := range d.Probes {
		if p.Status != incident.ProbeOK {
			text += fmt.Sprintf("; probe %s %s", p.Name, p.Status)
		}
	}
	return text
}

// ledger says the states, each with its share of the time in which the threads
// wanted to make progress.
func ledger(l incident.Ledger) string {
	active := active(l)
	if active == 0 {
		return ""
	}
	text := fmt.Sprintf("threads active %s ms", number(active))
	for _, s := range incident.States() {
		v := l.States[s]
		switch {
		case v == 0:
		case s == incident.Sleep || s == incident.UserLock:
			text += fmt.Sprintf("; %s %s ms", s, number(v))
		default:
			text += fmt.Sprintf("; %s %s ms; %s %s", s, number(v), s, percent(v/active))
		}
	}
	return text
}

func active(l incident.Ledger) (ms float64) {
	for s, v := range l.States {
		if s != incident.Sleep && s != incident.UserLock {
			ms += v
		}
	}
	return ms
}

func finding(f incident.Finding) string {
	text := string(f.Verdict)
	if f.Cause != "" {
		text += fmt.Sprintf(" cause %s", f.Cause)
	}
	if f.Share > 0 {
		text += fmt.Sprintf("; share %s of the active time", percent(f.Share))
	}
	if f.Threshold != "" {
		text += "; needs " + f.Threshold
	}
	return text + "; " + f.Message
}

// evidenceOf are the numbers that the findings cite, in the order of the diagnosis.
func evidenceOf(d incident.Diagnosis) []incident.Evidence {
	var all []incident.Evidence
	for _, e := range d.Evidence {
		if slices.ContainsFunc(d.Findings, func(f incident.Finding) bool { return slices.Contains(f.Evidence, e.ID) }) {
			all = append(all, e)
		}
	}
	return all[:min(len(all), maxEvidence)]
}

func evidence(e incident.Evidence) string {
	text := fmt.Sprintf("%s %s %s", e.Metric, number(e.Value), e.Unit)
	if e.Subject != "" {
		text += " of " + cut(e.Subject, maxLabel)
	}
	if len(e.Stack) > 0 {
		text += "; in " + strings.Join(e.Stack[:min(len(e.Stack), maxFrames)], ", ")
	}
	return text
}

func step(p incident.Plan, i int, s incident.Step) string {
	text := fmt.Sprintf("runbook %s; step %d: %s", p.Runbook, i+1, s.Name)
	if v := s.Preview; v != nil {
		text += fmt.Sprintf("; %s; from %s to %s", v.Summary, v.Before, v.After)
	}
	return text + "; action " + s.Action
}

// distinct leaves out what the guards said again.
func distinct(all []incident.Decision) []incident.Decision {
	return slices.CompactFunc(slices.Clone(all), func(a, b incident.Decision) bool { return reflect.DeepEqual(a, b) })
}

// number has six digits at least, so that what is rounded is rounded by the reader.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 2, 64) + "%" }
