package kubernetes

import (
	"slices"
	"strings"
	"testing"

	"github.com/kmend/kmend/deploy/rbac"
)

// What each action needs is known, and every right that a file grants for actions is
// needed by one.
func TestNeeds(t *testing.T) {
	used := map[string]bool{}
	for _, a := range Known() {
		needs, err := rbac.Needs(a.Name(), map[string]any{"template": "${true}"})
		if err != nil || len(needs) == 0 {
			t.Errorf("%s: %v, %v", a.Name(), needs, err)
		}
		for _, g := range needs {
			used[g.File+" "+g.Verb+" "+g.Group+"/"+g.Resource] = true
		}
	}
	grants, err := rbac.Grants()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range grants {
		always := slices.Contains([]string{"base.yaml", "watch.yaml", "pause.yaml"}, strings.TrimPrefix(g.File, "deploy/rbac/"))
		if right := g.File + " " + g.Verb + " " + g.Group + "/" + g.Resource; !always && !used[right] {
			t.Errorf("no action needs %s", right)
		}
	}
	if _, err := rbac.Needs("kubernetes.fly", nil); err == nil {
		t.Error("an action that is not there needs nothing")
	}
	for want, step := range map[int]map[string]any{1: {"object": "node"}, 3: {"object": "workload"}, 5: {"object": "${target.kind}"}} {
		if got, err := rbac.Needs("kubernetes.label", step); err != nil || len(got) != want {
			t.Errorf("label with %v: %v, %v", step, got, err)
		}
	}
	if got, err := rbac.Needs("kubernetes.resize_cpu", map[string]any{"template": false}); err != nil || len(got) != 1 || got[0].Resource != "pods/resize" {
		t.Errorf("resize_cpu: %v, %v", got, err)
	}
	all, err := rbac.Always()
	if err != nil || len(all) < 10 {
		t.Errorf("always: %v, %v", all, err)
	}
}
