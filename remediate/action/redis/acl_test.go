package redis_test

import (
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action/redis"
	real "github.com/kmend/kmend/test/redis"
)

// What README.md says an ACL user needs.
var (
	serverNeeds   = []string{"info", "client|list"}
	clusterNeeds  = []string{"info", "client|list", "cluster|info", "cluster|nodes", "cluster|failover"}
	sentinelNeeds = []string{"sentinel|master", "sentinel|replicas", "sentinel|ckquorum", "sentinel|failover"}
)

// user gives servers a user "kmend" who may run these commands and nothing else, on no key.
func user(servers []*real.Server, commands []string) {
	for _, s := range servers {
		words := []any{"ACL", "SETUSER", "kmend", "reset", "on", ">" + right}
		for _, c := range commands {
			words = append(words, "+"+c)
		}
		s.Do(words...)
	}
}

// lacking takes one command after another away: the plan or the act is an error that
// names it, and nothing is done.
func lacking(t *testing.T, a *redis.Failover, params map[string]any, needs []string, servers []*real.Server) {
	t.Helper()
	for i, command := range needs {
		user(servers, append(append([]string{}, needs[:i]...), needs[i+1:]...))
		p, err := a.Preview(t.Context(), none, params)
		if err == nil {
			_, err = a.Apply(t.Context(), none, incident.Step{Action: a.Name(), With: params, Preview: &p})
		}
		if err == nil || !strings.Contains(err.Error(), "NOPERM") || !strings.Contains(err.Error(), "'"+command+"'") || strings.Contains(err.Error(), right) {
			t.Errorf("without %s: %v", command, err)
		}
	}
	user(servers, needs)
}

func TestSentinelNeedsTheseCommands(t *testing.T) {
	t.Parallel()
	w, a := real.StartWatched(t, 1), sentinelAction(t)
	servers := append([]*real.Server{w.Master}, w.Replicas...)
	user(servers, serverNeeds)
	user(w.Sentinels, sentinelNeeds)
	pass := file(t, right)
	params := with(watchedWith(w), map[string]any{"username": "kmend", "passwordFile": pass, "sentinelUsername": "kmend", "sentinelPasswordFile": pass})
	lacking(t, a, params, serverNeeds, servers)
	lacking(t, a, params, sentinelNeeds, w.Sentinels)
	if _, err := a.Preview(t.Context(), none, but(params, "sentinelUsername", "nobody")); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a user that there is not: %v", err)
	}
	overAndBack(t, a, params)
}

func TestClusterNeedsTheseCommands(t *testing.T) {
	t.Parallel()
	n, a := real.StartCluster(t), clusterAction(t)
	user(n, clusterNeeds)
	params := with(clusterWith(n), map[string]any{"username": "kmend", "passwordFile": file(t, right)})
	lacking(t, a, params, clusterNeeds, n)
	overAndBack(t, a, params)
}
