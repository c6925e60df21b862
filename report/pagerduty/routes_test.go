package pagerduty

import (
	"errors"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/secret"
	standin "github.com/kmend/kmend/test/pagerduty"
)

// ways are routes by the label team.
type ways map[string]Route

func (w ways) Of(inc incident.Incident) Route { return w[inc.Alerts[0].Labels["team"]] }

func (w ways) Named(name string) Route {
	for _, r := range w {
		if r.Name == name {
			return r
		}
	}
	return Route{}
}

func key(t *testing.T, text string) *secret.File {
	t.Helper()
	f, err := secret.Open(secretFile(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Where a route is off nothing is told; what was begun is brought to its end all the same.
func TestRouteOff(t *testing.T) {
	b := newBed(t)
	b.stop()
	b.pd.Open(keyOf(group), "RequestsSlow")
	off := ways{"shop": {Name: "shop", Off: true}}
	b.start(func(o *Options) { o.Routes = off })
	quiet := closed(waiting(), incident.Failed, "step 1 failed")
	quiet.Alerts[0].Labels["team"] = "shop"
	b.put(quiet)
	b.p.Changed(quiet.ID, true)
	b.until("it is done", func() bool { return b.kept(quiet.ID).Done })
	if all := b.pd.Incidents(); len(all) != 1 || len(all[0].Notes) != 0 {
		t.Errorf("PagerDuty was told %+v", all)
	}
	b.stop()

	b.start(nil)
	begun := waiting()
	begun.ID = "20261121-120001.000-0a1b2c3d"
	begun.Alerts = []incident.Alert{{Labels: map[string]string{"team": "shop"}}}
	b.put(begun)
	b.p.Changed(begun.ID, true)
	b.notes(1)
	b.until("it is kept", func() bool { return b.kept(begun.ID).Notes == 1 })
	b.stop()
	b.start(func(o *Options) { o.Routes = off })
	b.put(closed(begun, incident.Denied, "no"))
	b.p.Changed(begun.ID, true)
	b.notes(2)
}

// A route pages with its own key, and by that one it is resolved, whatever the route is then.
func TestRoutePages(t *testing.T) {
	b := newBed(t)
	b.stop()
	routes := ways{"shop": {Name: "shop", Key: key(t, standin.OtherKey)}}
	b.start(func(o *Options) { o.Routes = routes })
	bad := closed(waiting(), incident.Failed, "step 1 failed")
	bad.Alerts[0].Labels["team"] = "shop"
	b.put(bad)
	b.p.Changed(bad.ID, true)
	b.until("a page", func() bool { return b.kept(bad.ID).Paged })
	if page := b.pd.Incidents()[0]; page.RoutingKey != standin.OtherKey || b.kept(bad.ID).Route != "shop" {
		t.Errorf("paged with %s, kept %+v", page.RoutingKey, b.kept(bad.ID))
	}
	b.stop()

	routes[""] = Route{Name: "off", Off: true}
	b.start(func(o *Options) { o.Routes = routes })
	good := closed(waiting(), incident.Fixed, "better")
	good.First, good.ID, good.Episode = bad.ID, bad.ID+".2", 2
	good.Episodes = []incident.Episode{{ID: bad.ID}, {ID: good.ID}}
	good.Alerts = []incident.Alert{{}}
	b.put(good)
	b.p.Changed(good.ID, true)
	b.until("its end", func() bool { return b.kept(good.ID).Done })
	if page := b.pd.Incidents()[0]; page.Status != "resolved" {
		t.Errorf("the page is %s", page.Status)
	}
}

// An operator's words are in the first note, in lines; where they fail, kmend's are.
func TestWords(t *testing.T) {
	b := newBed(t)
	b.stop()
	b.pd.Open(keyOf(group), "RequestsSlow")
	fail := false
	b.start(func(o *Options) {
		o.Routes = ways{"": {Words: func(incident.Incident) (string, error) {
			if fail {
				return "", errors.New("no")
			}
			return "our words\nand a second line", nil
		}}}
	})
	inc := waiting()
	b.put(inc)
	b.p.Changed(inc.ID, true)
	if n := b.notes(1); n[0] != "kmend "+inc.ID+": found\nour words\nand a second line" {
		t.Errorf("the note is %q", n[0])
	}
	b.until("it is kept", func() bool { return b.kept(inc.ID).Notes == 1 })
	fail = true
	inc.ID = "20261121-120002.000-0a1b2c3d"
	b.put(inc)
	b.p.Changed(inc.ID, true)
	if n := b.notes(2); !strings.Contains(n[1], "CPU throttled 1299 of 3000 ms") {
		t.Errorf("the note is %q", n[1])
	}
}
