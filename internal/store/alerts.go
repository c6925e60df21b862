package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// merge is an open incident's alerts after one more delivery. Deliveries come
// late, twice and from several senders, so only what is newer counts: a resolved
// alert closes its own firing and no later one, and does not fire again with the
// same start. Alerts that a firing delivery does not name have left the group,
// unless the sender left some out.
func merge(have, delivered []incident.Alert, partial bool) []incident.Alert {
	var out []incident.Alert
	for _, d := range delivered {
		i := slices.IndexFunc(have, func(h incident.Alert) bool { return h.Fingerprint == d.Fingerprint })
		switch {
		case i < 0 && d.Status == incident.Resolved && !partial && anyFiring(have):
			// Resolved before this incident knew of it: says nothing about it.
		case i >= 0 && outdated(d, have[i]):
			out = append(out, have[i])
		case i >= 0 && d.Status != incident.Resolved && d.StartsAt.Before(have[i].StartsAt):
			h := have[i]
			h.StartsAt = d.StartsAt
			out = append(out, h)
		default:
			out = append(out, d)
		}
	}
	for _, h := range have {
		named := slices.ContainsFunc(out, func(o incident.Alert) bool { return o.Fingerprint == h.Fingerprint })
		left := anyFiring(delivered) && !partial
		if !named && !left {
			out = append(out, h)
		}
	}
	return out
}

// outdated reports whether delivery d says nothing new about the alert that h
// knows. An earlier start is not by itself an earlier firing: Alertmanager moves
// it back when it merges what two Prometheus servers send. An earlier firing is
// one that had ended before h's began.
func outdated(d, h incident.Alert) bool {
	switch {
	case d.StartsAt.After(h.StartsAt):
		return false
	case h.Status == incident.Resolved:
		return true
	}
	return d.Status == incident.Resolved && !d.EndsAt.IsZero() && d.EndsAt.Before(h.StartsAt)
}

func anyFiring(alerts []incident.Alert) bool {
	return slices.ContainsFunc(alerts, func(a incident.Alert) bool { return a.Status != incident.Resolved })
}

// firingKey is a timeline key: one line a firing.
func firingKey(kind string, a incident.Alert) string {
	return fmt.Sprintf("%s/%s/%d", kind, a.Fingerprint, a.StartsAt.UnixNano())
}

// describe names the alerts of one delivery in one line. Names are untrusted:
// quoted, and not more than a few.
func describe(alerts []incident.Alert) string {
	const most = 3
	word := "resolved"
	if anyFiring(alerts) {
		word = "firing"
	}
	var names []string
	for _, a := range alerts {
		if n := fmt.Sprintf("%q", a.Name()); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(names)-most))
	}
	return fmt.Sprintf("%s: %s", word, strings.Join(names, ", "))
}
