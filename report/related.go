package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/kmend/kmend/incident"
)

// related writes how often its alerts fired, what the incident is a part of, and
// what is a part of it.
func (p *page) related(inc incident.Incident) {
	for i, e := range inc.Episodes {
		label := ""
		if i == 0 {
			label = "Fired"
		}
		state := words(cmp.Or(string(e.Outcome), "open"))
		if e.ID == inc.ID {
			p.field(label, 2, bold(stamp(e.ReceivedAt)+" "+state), dim(" (this one)"))
			continue
		}
		p.field(label, 2, plain(stamp(e.ReceivedAt)+" "+state), dim(" "+e.ID))
	}
	if up := inc.Parent; up != nil {
		p.field("Part of", 2, plain(up.Incident), dim(fmt.Sprintf(", which has the same %s %s", up.Shares, up.What)))
	}
	if inc.Parts != nil {
		p.field("Parts", 2, plain(inc.Parts.String()))
		p.field("", 0, dim(strings.Join(inc.Parts.IDs, " ")))
	}
}
