package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // policies name time zones, and a small image has none

	"github.com/kmend/kmend/incident"
)

// windows are the compiled Windows.
type windows struct {
	zone *time.Location
	open []window
}

// window begins and ends so many minutes after midnight; what ends on the next
// day has an end of more than a day.
type window struct {
	days     []string // empty: every day
	from, to int
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// contains reports whether the wall clock shows a time inside the window. It is
// the wall clock that counts, so a window is an hour longer or shorter in the
// night in which the clocks change.
func (w window) contains(t time.Time) bool {
	minute := t.Hour()*60 + t.Minute()
	return w.on(t.Weekday()) && minute >= w.from && minute < w.to ||
		w.on((t.Weekday()+6)%7) && minute+24*60 < w.to // it began yesterday
}

func (w window) on(d time.Weekday) bool {
	return len(w.days) == 0 || slices.Contains(w.days, weekdays[d])
}

func (g *guards) open(q question) []said {
	if g.Windows == nil {
		return nil
	}
	t := q.now.In(g.windows.zone)
	shown := t.Format("Mon 15:04 MST")
	if slices.ContainsFunc(g.windows.open, func(w window) bool { return w.contains(t) }) {
		return []said{pass("windows", "%s is inside a window", shown)}
	}
	return []said{say(cmp.Or(g.Windows.Outside, incident.RequireApproval), "windows", "%s is outside of every window", shown)}
}

// freeze is a compiled Freeze: from its first instant until before its last.
type freeze struct {
	Freeze
	from, to time.Time
}

func (g *guards) frozen(q question) []said {
	if g.freezes == nil {
		return nil
	}
	var all []said
	for _, f := range g.freezes {
		if !q.now.Before(f.from) && q.now.Before(f.to) {
			all = append(all, say(cmp.Or(f.Decide, incident.Deny), "freezes", "%s: frozen until %s", f.Name, f.to.Format("2006-01-02 15:04 MST")))
		}
	}
	if all == nil {
		return []said{pass("freezes", "none now")}
	}
	return all
}

func zone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, fmt.Errorf("%q depends on the machine; name a zone, such as Europe/Berlin", name)
	}
	l, err := time.LoadLocation(name) // "" is UTC
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone; write one of the IANA database, such as Europe/Berlin or UTC", name)
	}
	return l, nil
}

func compileWindow(w Window) window {
	out := window{days: w.Days, from: minutes(cmp.Or(w.From, "00:00")), to: minutes(cmp.Or(w.To, "24:00"))}
	if out.to <= out.from {
		out.to += 24 * 60
	}
	return out
}

// minutes reads HH:MM, whose form the schema has checked.
func minutes(s string) int {
	return (int(s[0]-'0')*10+int(s[1]-'0'))*60 + int(s[3]-'0')*10 + int(s[4]-'0')
}

// day reads one end of a freeze; a date as an end is the midnight after it.
func day(text string, zone *time.Location, end bool) (time.Time, error) {
	if t, err := time.ParseInLocation("2006-01-02T15:04", text, zone); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		return t, fmt.Errorf("%q is no date; write YYYY-MM-DD or YYYY-MM-DDTHH:MM", strings.TrimSpace(text))
	}
	if end {
		t = t.AddDate(0, 0, 1)
	}
	return t, nil
}
