package llm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kmend/kmend/incident"
)

// hallucinations are the ways in which the stand-in lies. Each gives a sentence
// that is false or has no evidence, by how it is made: none asks the checker. ok
// is false where it would happen to be true.
var hallucinations = []struct {
	name, section string
	lie           func(inc incident.Incident, f incident.Finding) (text string, ids []string, ok bool)
}{
	{"invented number", "rootCause", func(inc incident.Incident, f incident.Finding) (string, []string, bool) {
		e := cited(inc, f)
		return fmt.Sprintf("The %s was %s %s.", e.Metric, number(1.37*e.Value+1), e.Unit), []string{"f1", e.ID}, true
	}},
	{"wrong unit", "rootCause", func(inc incident.Incident, f incident.Finding) (string, []string, bool) {
		e := cited(inc, f)
		return fmt.Sprintf("The %s was %s minutes.", e.Metric, number(e.Value)), []string{"f1", e.ID}, true
	}},
	{"number of another fact", "rootCause", func(inc incident.Incident, f incident.Finding) (string, []string, bool) {
		e := cited(inc, f)
		for _, other := range inc.Diagnosis.Evidence {
			if slices.Contains(f.Evidence, other.ID) && other.Unit == e.Unit && other.Metric != e.Metric && (other.Value < e.Value*0.8 || other.Value > e.Value*1.25) {
				return fmt.Sprintf("The %s was %s %s.", e.Metric, number(other.Value), e.Unit), []string{e.ID, other.ID, "f1"}, true
			}
		}
		return "", nil, false
	}},
	{"invented name", "impact", func(incident.Incident, incident.Finding) (string, []string, bool) {
		return "RequestsSlow is firing for checkout-7d9f-x2x1.", []string{"a1", "g1"}, true
	}},
	{"invented cause", "rootCause", func(incident.Incident, incident.Finding) (string, []string, bool) {
		return "A memory leak in the last deployment is the root cause.", []string{"f1"}, true
	}},
	{"cause that is not confirmed", "rootCause", func(inc incident.Incident, _ incident.Finding) (string, []string, bool) {
		for _, c := range incident.Causes() {
			if _, there := inc.Diagnosis.Finding(c); !there {
				return fmt.Sprintf("The root cause is %s.", c), []string{"f1", "w1"}, true
			}
		}
		return "", nil, false
	}},
	{"evidence that is not there", "rootCause", func(inc incident.Incident, f incident.Finding) (string, []string, bool) {
		return fmt.Sprintf("The root cause is %s.", f.Cause), []string{"f1", "e9999"}, true
	}},
	{"action that was not done", "done", func(inc incident.Incident, _ incident.Finding) (string, []string, bool) {
		if len(inc.Executions) > 0 {
			return "kmend restarted the pod.", []string{"x1", "o1"}, true
		}
		return "kmend raised the CPU quota from 0.2 to 0.4 CPU.", []string{"p1", "o1", "d1"}, true
	}},
	{"negation", "rootCause", func(inc incident.Incident, f incident.Finding) (string, []string, bool) {
		return fmt.Sprintf("The root cause is not %s.", f.Cause), []string{"f1"}, true
	}},
	{"order turned round", "done", func(inc incident.Incident, _ incident.Finding) (string, []string, bool) {
		v := inc.Verification
		if v == nil || v.Before == v.After {
			return "", nil, false
		}
		return fmt.Sprintf("The share of %s went from %s to %s.", v.Cause, percent(v.After), percent(v.Before)), []string{"v1"}, true
	}},
	{"link", "followUps", func(incident.Incident, incident.Finding) (string, []string, bool) {
		return "Look at https://status.example.com for RequestsSlow.", []string{"a1"}, true
	}},
	{"mention", "impact", func(incident.Incident, incident.Finding) (string, []string, bool) {
		return "<!channel> RequestsSlow is firing.", []string{"a1"}, true
	}},
}

// cited is a number above 0 that the finding cites, the first of the diagnosis.
func cited(inc incident.Incident, f incident.Finding) incident.Evidence {
	for _, e := range inc.Diagnosis.Evidence {
		if slices.Contains(f.Evidence, e.ID) && e.Value > 0 {
			return e
		}
	}
	return incident.Evidence{ID: "e1", Metric: "active"}
}

// truths are what an honest model writes, in words of its own.
func truths(inc incident.Incident, f incident.Finding) (s incident.Summary) {
	say := func(to *[]incident.Sentence, text string, ids ...string) {
		*to = append(*to, incident.Sentence{Text: text, Evidence: ids})
	}
	e := cited(inc, f)
	say(&s.Title, fmt.Sprintf("The kernel confirmed %s", f.Cause), "f1")
	say(&s.Impact, "The alert RequestsSlow is firing for service cart-1.", "a1")
	say(&s.RootCause, fmt.Sprintf("The root cause is %s, with a share of %.0f%% of the active time.", f.Cause, 100*f.Share), "f1")
	say(&s.RootCause, fmt.Sprintf("The evidence shows that %s was %s %s.", e.Metric, rounded(e.Value), e.Unit), "f1", e.ID)
	if v := inc.Verification; v != nil {
		say(&s.Done, "kmend raised the CPU quota from 0.2 CPU to 0.4 CPU.", "x1")
		say(&s.Done, fmt.Sprintf("The share of %s went from %.0f%% to %.0f%%.", v.Cause, 100*v.Before, 100*v.After), "v1")
	} else {
		say(&s.FollowUps, "Decide whether to raise the CPU quota from 0.2 to 0.4 CPU.", "p1")
	}
	return s
}

// TestGroundedness: of incidents that were measured, each with every lie among
// true sentences, no lie is kept and most of the truth is.
func TestGroundedness(t *testing.T) {
	incidents, lies, posted, honest, kept := 0, 0, 0, 0, 0
	kinds := map[string]int{}
	for name, inc := range recorded(t) {
		root, ok := inc.Diagnosis.RootCause()
		if !ok {
			continue
		}
		incidents++
		p, err := newPacket(inc, Redactor{})
		if err != nil {
			t.Fatal(err)
		}
		c, s := newChecker(p.facts), truths(inc, root)
		honest += s.Len()
		truth, out := c.check(s)
		kept += truth.Len()
		for _, d := range out {
			t.Logf("%s: true and dropped: %s %q: %s %s", name, d.Section, d.Text, d.Reason, d.Detail)
		}
		for _, h := range hallucinations {
			text, ids, ok := h.lie(inc, root)
			if !ok {
				continue
			}
			lies++
			kinds[h.name]++
			if reason, _ := c.refuse(h.section, incident.Sentence{Text: text, Evidence: ids}); reason == "" {
				posted++
				t.Errorf("%s: %s: kept %q citing %v", name, h.name, text, ids)
			}
		}
	}
	t.Logf("%d recorded incidents, %d ways to hallucinate: %d of %d ungrounded sentences kept, %d of %d true ones (%d%%)",
		incidents, len(kinds), posted, lies, kept, honest, 100*kept/max(honest, 1))
	for _, h := range hallucinations {
		if kinds[h.name] < 10 {
			t.Errorf("%s was tried on %d incidents; want 10 at least", h.name, kinds[h.name])
		}
	}
	if incidents < 50 || kept*10 < honest*8 {
		t.Errorf("%d incidents and %d of %d true sentences kept; want 50 and 80%% at least", incidents, kept, honest)
	}
}
