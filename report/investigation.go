package report

import (
	"strings"

	"github.com/kmend/kmend/incident"
)

// investigation writes how kmend came to what it diagnosed, and what metrics, traces
// and logs say. What only repeats the diagnosis is left out.
func (p *page) investigation(v *incident.Investigation) {
	if v == nil {
		return
	}
	p.path(v)
	if v.Extent != nil {
		said := []span{plain(v.Extent.Message)}
		if len(v.Hops) > 0 && v.Hops[0].Why != "" {
			said = append(said, dim(" ("+v.Hops[0].Why+")"))
		}
		p.field("Extent", 2, said...)
	}
	section := ""
	for _, o := range v.Observations {
		label := sectionOf(o.Source)
		if label == section {
			label = ""
		} else {
			section = label
		}
		var head []span
		switch o.Stance {
		case incident.Supports:
			head = append(head, in(green, "supports: "))
		case incident.Contradicts:
			head = append(head, in(yellow, "contradicts: "))
		}
		head = append(head, plain(o.Message), dim(" ("+strings.Join(append([]string{o.Source}, o.Evidence...), ", ")+")"))
		p.field(label, 2, head...)
	}
	for _, s := range v.Sources {
		if s.Status == incident.SourceFailed {
			p.field("", 2, in(yellow, s.Name+" did not answer: "), plain(s.Reason))
		}
	}
	var absent []string
	for _, s := range v.Sources {
		if s.Status == incident.SourceAbsent {
			absent = append(absent, s.Name)
		}
	}
	if len(absent) > 0 {
		p.field("", 1, dim("not configured: "+strings.Join(absent, ", ")))
	}
}

// sectionOf is the label of what a source says.
func sectionOf(source string) string {
	switch source {
	case "loki", "elasticsearch":
		return "Logs"
	}
	return "Also seen"
}

// path writes the hops, where there is more than the alert's own.
func (p *page) path(v *incident.Investigation) {
	if v.Path() == "" {
		return
	}
	p.field("Path", 3, bold(v.Path()))
	for i, h := range v.Hops {
		said := []span{plain(strings.Repeat("  ", i) + h.Target.String())}
		if i == v.Root {
			said[0] = bold(strings.Repeat("  ", i) + h.Target.String())
		}
		if h.Service != "" {
			said = append(said, dim(" ("+h.Service+")"))
		}
		said = append(said, plain(": "+words(string(h.Verdict))))
		if h.Cause != "" {
			said = append(said, plain(" "+string(h.Cause)))
		}
		if h.Why != "" {
			said = append(said, dim(", because "+h.Why))
		}
		p.field("", 3, said...)
	}
}
