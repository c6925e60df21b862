package llm

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/kmend/kmend/incident"
)

// said is what of a fact's text kmend wrote itself.
func (f fact) said() string {
	if f.mixed {
		return f.own
	}
	return f.Text
}

var (
	// sourceID is an id of what metrics, traces and logs say, which has the letters of its source.
	sourceID = regexp.MustCompile(`^(m|t|l|le)[0-9]{1,4}$`)
	// quoted is what Go's %q writes: in an observation, a stranger's words.
	quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

// investigated writes down how kmend came to what it diagnosed, and what is said beside
// the kernel. The model sees all of it; services, log lines and what an observation
// quotes are strangers' words, of which only names may be repeated.
func investigated(v *incident.Investigation, r Redactor) (all []fact) {
	if v == nil {
		return nil
	}
	for i, h := range v.Hops[:min(len(v.Hops), maxHops)] {
		role := ""
		if i == v.Root {
			role = "; the diagnosis is about it"
		}
		own := fmt.Sprintf("hop %d; by %s; %s; verdict %s; %s%s", i+1, h.Via, h.Why, h.Verdict, h.Message, role)
		if h.Cause != "" {
			own += fmt.Sprintf("; cause %s", h.Cause)
		}
		all = append(all, mixedFact(numbered("h", i), hopKind, own, h.Target.String()+" "+h.Service, r))
	}
	if e := v.Extent; e != nil {
		own := fmt.Sprintf("%s; %d pods run; %d measured; %d with the same cause", e.Message, e.Pods, e.Measured, e.Same)
		all = append(all, mixedFact("b1", extentKind, own, e.Of+" "+strings.Join(e.Nodes[:min(len(e.Nodes), maxHops)], " "), r))
	}
	for i, o := range v.Observations[:min(len(v.Observations), maxObserved)] {
		own := quoted.ReplaceAllString(o.Message, "")
		if strings.Contains(own, `"`) {
			own = "" // who quotes wrongly may have quoted anything
		}
		f := mixedFact(numbered("q", i), observationKind, fmt.Sprintf("%s %s; %s", o.Source, o.Kind, own), strings.Join(quoted.FindAllString(o.Message, 20), " "), r)
		f.Text = fmt.Sprintf("%s %s; %s; %s", o.Source, o.Kind, o.Stance, o.Message)
		all = append(all, f)
	}
	seen := map[string]bool{}
	for _, e := range v.Evidence {
		if !sourceID.MatchString(e.ID) || seen[e.ID] || len(seen) == 2*maxObserved {
			continue
		}
		seen[e.ID] = true
		f := mixedFact(e.ID, evidenceKind, fmt.Sprintf("%s %s %s", e.Metric, number(e.Value), e.Unit), e.Subject, r)
		f.zero = e.Value == 0
		all = append(all, f)
	}
	if len(v.Sources) > 0 {
		var said []string
		for _, s := range v.Sources[:min(len(v.Sources), maxObserved)] {
			said = append(said, fmt.Sprintf("source %s %s", s.Name, s.Status)) // not why: that may quote an answer
		}
		all = append(all, fact{ID: "c1", Kind: sourceKind, Text: strings.Join(said, "; ")})
	}
	return all
}

// mixedFact is what kmend says, and strangers' words behind it. Of those that are
// names, and no words that give orders, a sentence may use.
func mixedFact(id string, k kind, own, strangers string, r Redactor) fact {
	strangers = cut(r.Redact(cut(strings.TrimSpace(strangers), 50*maxQuoted)), maxQuoted)
	f := fact{ID: id, Kind: k, Text: own, own: own, mixed: true}
	if strangers != "" {
		f.Text += "; of " + strangers
	}
	for _, w := range strings.Fields(strangers) {
		if w = strings.Trim(w, edges); isName(w) && nameLike.MatchString(w) {
			f.names = append(f.names, w)
		}
	}
	f.names = append(f.names, names(f.names)...)
	return f
}

// nameLike are the characters that names of pods, cgroups, nodes and services have.
var nameLike = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9_./:-]{0,200}$`)
