package route

import (
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
)

func table(t *testing.T, rules ...[]string) (out Table) {
	t.Helper()
	for _, text := range rules {
		r, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestFirst(t *testing.T) {
	rules := table(t, []string{`team="shop"`, `severity=~"page|critical"`}, []string{`namespace=~"shop.*"`}, []string{`team!=""`, `team!="db"`}, []string{`"über.label"="x"`})
	alert := func(pairs ...string) incident.Alert {
		l := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			l[pairs[i]] = pairs[i+1]
		}
		return incident.Alert{Labels: l}
	}
	for name, c := range map[string]struct {
		target incident.Target
		alerts []incident.Alert
		want   int
	}{
		"all matchers":              {alerts: []incident.Alert{alert("team", "shop", "severity", "page")}, want: 0},
		"a part of a regexp":        {alerts: []incident.Alert{alert("team", "shop", "severity", "pages")}, want: 2},
		"the target's namespace":    {incident.Target{Namespace: "shop-eu"}, []incident.Alert{alert("namespace", "monitoring")}, 1},
		"the label's, without one":  {alerts: []incident.Alert{alert("namespace", "shop")}, want: 1},
		"the first rule, not alert": {alerts: []incident.Alert{alert("namespace", "shop"), alert("team", "shop", "severity", "critical")}, want: 0},
		"not":                       {alerts: []incident.Alert{alert("team", "db")}, want: -1},
		"utf-8":                     {alerts: []incident.Alert{alert("über.label", "x")}, want: 3},
		"two alerts do not add up":  {alerts: []incident.Alert{alert("team", "shop"), alert("severity", "page", "team", "db")}, want: 2},
		"no alerts":                 {want: -1},
	} {
		if got := rules.First(incident.Incident{Target: c.target, Alerts: c.alerts}); got != c.want {
			t.Errorf("%s: rule %d, want %d", name, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "team", `team="a",b="c"`, `team=~"("`, `{`} {
		if _, err := Parse([]string{bad}); err == nil || !strings.Contains(err.Error(), "write for example") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
