package respond

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/rpc/jsonrpc"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// grace is how long after a pause something that was decided before it may begin.
const grace = time.Second

// jungle is a world in which everything happens at random, and which knows what
// must never happen whatever the order: the invariants of docs/architecture.md.
type jungle struct {
	t *testing.T

	mu      sync.Mutex
	rand    *rand.Rand
	paused  time.Time       // zero: it is not
	yes     map[string]bool // incidents to which somebody may have said yes
	no      map[string]bool // incidents to which a no was taken
	effects map[string]int  // of INCIDENT/STEP: 1 while it is in effect
	at      map[string]string
	applied int
	undone  int

	dir    string // where kmend is reached
	life   int    // that kmend has now: 1, and one more after each death
	kill   func() error
	deadly int // how many in a hundred calls kmend does not live to make, and as many to hear the answer of
	deaths int
}

// deadly is so that a life has some incidents in it.
const deadly = 1

// die kills kmend, whatever it is at.
func (j *jungle) die() {
	j.life++
	j.deaths++
	_ = j.kill() // it may have ended
}

// mayDie is a moment in which kmend may be killed.
func (j *jungle) mayDie() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.chance(j.deadly) {
		j.die()
	}
}

// over reports whether a life of kmend is, or will be as soon as it is told to stop.
func (j *jungle) over(life int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return life != j.life
}

// get reads an incident, as kmend has it. An error is that kmend is dead.
func (j *jungle) get(id string) (inc incident.Incident, err error) {
	client, err := jsonrpc.Dial("unix", child{Dir: j.dir, Life: j.life}.door())
	if err != nil {
		return inc, err
	}
	defer client.Close()
	err = client.Call("Kmend.Get", id, &inc)
	return inc, err
}

func newJungle(t *testing.T, seed uint64) *jungle {
	return &jungle{t: t, dir: t.TempDir(), life: 1, deadly: deadly, rand: rand.New(rand.NewPCG(seed, 1)), yes: map[string]bool{}, no: map[string]bool{},
		effects: map[string]int{}, at: map[string]string{}}
}

// chance is true in so many of a hundred cases.
func (j *jungle) chance(percent int) bool { return j.rand.IntN(100) < percent }

// mode is what the policies say of a target: it does not change.
func mode(target incident.Target) incident.Effect {
	return map[byte]incident.Effect{'a': incident.Allow, 'b': incident.RequireApproval, 'c': incident.Deny}[target.Cgroup[1]]
}

func (j *jungle) stages() *stages {
	trouble := errors.New("the API server answers 500")
	d := &stages{}
	d.diagnose = func(_ context.Context, t incident.Target, _ time.Duration) (incident.Diagnosis, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		switch {
		case j.chance(5):
			return incident.Diagnosis{}, trouble
		case j.chance(10):
			return incident.Diagnosis{Target: t, Verdict: incident.Clean, Window: incident.Window{Start: time.Now(), Seconds: 0.001},
				Findings: []incident.Finding{{Verdict: incident.Clean, Message: "the kernel is clean"}}}, nil
		}
		return throttled(t), nil
	}
	d.plan = func(inc incident.Incident) (incident.Plan, bool, string, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		p := twoSteps(inc)
		p.Runbook = inc.ID // so that the actions know whose they are
		if j.chance(15) {
			p.Verify.Settle = incident.Duration(grace + 500*time.Millisecond) // a pause may come before the undoing
		}
		return p, true, "", nil
	}
	d.paused = func() (string, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		switch {
		case j.chance(5):
			return "", errors.New("the database is away")
		case !j.paused.IsZero():
			return "paused by ada", nil
		}
		return "", nil
	}
	d.decide = func(_ incident.Incident, p incident.Plan) incident.Decision {
		j.mu.Lock()
		defer j.mu.Unlock()
		if !j.paused.IsZero() {
			return incident.Decision{Effect: incident.Deny, Policy: "kmend", Rule: "pause", Reason: "paused by ada"}
		}
		return incident.Decision{Effect: mode(p.Target), Policy: "test", Reason: "it is a test"}
	}
	d.preview = func(_ context.Context, p incident.Plan) (incident.Plan, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.chance(3) {
			return p, trouble
		}
		return p, nil
	}
	d.apply = func(_ context.Context, p incident.Plan, step int) (incident.Execution, error) {
		return j.apply(p, step)
	}
	d.undo = func(_ context.Context, p incident.Plan, done incident.Execution) (incident.Execution, error) {
		return j.undo(p, done.Step)
	}
	d.verify = func(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.chance(40) {
			return worse(p, before, after)
		}
		return incident.Verification{Cause: p.Cause, Better: true, Reason: "better", Diagnosis: after}
	}
	return d
}

// apply is the only door to an effect, and looks at everything that must hold there.
func (j *jungle) apply(p incident.Plan, step int) (incident.Execution, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	id, cgroup, key := p.Runbook, p.Target.Cgroup, fmt.Sprintf("%s/%d", p.Runbook, step)
	wrong := func(format string, args ...any) {
		j.t.Errorf("step %d of incident %s on %s: "+format, append([]any{step + 1, id, cgroup}, args...)...)
	}
	inc, err := j.get(id)
	if err != nil {
		return incident.Execution{}, err
	}
	if d := inc.Diagnosis; d == nil || d.Verdict != incident.Confirmed || d.Findings[0].Cause != p.Cause {
		wrong("the kernel does not confirm it: %+v", d)
	}
	if !j.paused.IsZero() && time.Since(j.paused) > grace {
		wrong("kmend has been paused for %s", time.Since(j.paused))
	}
	switch mode(p.Target) {
	case incident.Deny:
		wrong("the policies deny it")
	case incident.RequireApproval:
		if !j.yes[id] {
			wrong("nobody said yes")
		}
	}
	if j.no[id] {
		wrong("somebody said no")
	}
	if before := j.at[cgroup]; before != "" && before != id {
		other, err := j.get(before)
		if err != nil {
			return incident.Execution{}, err
		}
		if !other.Phase.Closed() {
			wrong("incident %s is at it", before)
		}
	}
	j.at[cgroup] = id
	if j.effects[key] != 0 {
		return incident.Execution{Result: alreadyApplied, State: map[string]string{}}, nil
	}
	if j.chance(5) {
		return incident.Execution{}, errors.New("the API server answers 409")
	}
	j.effects[key]++
	j.applied++
	if j.chance(5) {
		return incident.Execution{State: map[string]string{"half": "done"}}, errors.New("the API server hangs")
	}
	return incident.Execution{Result: "applied", State: map[string]string{}}, nil
}

func (j *jungle) undo(p incident.Plan, step int) (incident.Execution, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.paused.IsZero() && time.Since(j.paused) > grace {
		j.t.Errorf("incident %s puts step %d back, and kmend has been paused for %s", p.Runbook, step+1, time.Since(j.paused))
	}
	if j.chance(5) {
		return incident.Execution{}, errors.New("somebody changed it since")
	}
	if key := fmt.Sprintf("%s/%d", p.Runbook, step); j.effects[key] > 0 { // else a kmend did it that did not live to hear so
		j.effects[key]--
		j.undone++
	}
	return incident.Execution{Result: "undone"}, nil
}

// pause and resume by turns.
func (j *jungle) pause(on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.paused = (time.Time{}); on {
		j.paused = time.Now()
	}
}

// answers says yes or no to what waits.
func (j *jungle) answers(m *mortal, inc incident.Incident, yes bool) {
	j.mu.Lock()
	if yes {
		j.yes[inc.ID] = true // before: the plan may go on before the call returns
	}
	j.mu.Unlock()
	var taken bool
	err := m.ask("Approve", incident.Approval{Incident: inc.ID, Plan: inc.Plan.Digest(), Approve: yes, By: "ada", Name: "ada"}, &taken)
	j.mu.Lock()
	defer j.mu.Unlock()
	if !yes && err == nil && taken {
		j.no[inc.ID] = true
	}
}

// TestInterleavings drives random interleavings of alerts, resolves, answers,
// expiries, pauses, stops, crashes and API errors, and looks at what must hold in
// any order. kmend is a process of its own, which is killed between two turns and
// in the middle of its calls.
func TestInterleavings(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var applied, undone, deaths int
	all := map[incident.Outcome]int{}
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			j, outcomes := interleave(t, seed, 200)
			mu.Lock()
			defer mu.Unlock()
			applied, undone, deaths = applied+j.applied, undone+j.undone, deaths+j.deaths
			for o, n := range outcomes {
				all[o] += n
			}
		})
	}
	t.Cleanup(func() { // once all of them have ended
		if applied < 20 || undone == 0 || deaths < 10 || all[incident.Fixed] == 0 || all[incident.Denied] == 0 || all[incident.Failed] == 0 {
			t.Errorf("not much happened: %d applied, %d undone, %d deaths, %v", applied, undone, deaths, all)
		}
	})
}

func interleave(t *testing.T, seed uint64, turns int) (*jungle, map[incident.Outcome]int) {
	j := newJungle(t, seed)
	if err := serve(filepath.Join(j.dir, "world"), "World", World{j}); err != nil {
		t.Fatal(err)
	}
	m := &mortal{child: child{Dir: j.dir}, t: t, world: j}
	m.live()
	t.Cleanup(func() { _ = m.cmd.Process.Kill() })
	choose := rand.New(rand.NewPCG(seed, 2))
	begins := map[string]int{} // of a target's firing: each time another alert
	// Each target has alerts of two groups, so that two incidents are about it.
	alert := func(target string) incident.Notification {
		n := firing(target[:3])
		n.GroupKey += target[3:]
		n.Alerts[0].Fingerprint += target[3:]
		n.Alerts[0].StartsAt = n.Alerts[0].StartsAt.Add(time.Duration(begins[target]) * time.Hour)
		return n
	}
	acknowledged := map[string]bool{} // fingerprints of what fires
	ingest := func(n incident.Notification) {
		m.always("Ingest", n, &struct{}{})
		if n.Status == incident.Firing {
			acknowledged[n.Alerts[0].Fingerprint] = true
		}
	}
	targets := []string{"/a1x", "/a1y", "/a2x", "/a2y", "/b1x", "/b1y", "/b2x", "/c1x"}
	for range turns {
		target := targets[choose.IntN(len(targets))]
		switch n := choose.IntN(100); {
		case n < 45:
			if choose.IntN(3) == 0 {
				begins[target]++ // it fires anew: what has ended opens again, what is open goes on
			}
			ingest(alert(target))
		case n < 55:
			ingest(resolvedOf(alert(target)))
			begins[target]++
		case n < 80:
			var waiting []incident.Incident
			m.always("List", store.Filter{Phase: incident.AwaitingApproval}, &waiting)
			for _, inc := range waiting {
				j.answers(m, inc, choose.IntN(4) > 0)
			}
		case n < 86:
			j.pause(true)
			if choose.IntN(4) == 0 {
				time.Sleep(2 * grace)
			}
		case n < 95:
			j.pause(false)
		case n < 98:
			j.mu.Lock()
			j.die()
			j.mu.Unlock()
		default:
			m.stop()
			m.live()
		}
		time.Sleep(time.Duration(choose.IntN(12)) * time.Millisecond)
	}
	j.pause(false)
	j.mu.Lock()
	j.deadly = 0
	j.mu.Unlock()
	for _, target := range targets {
		ingest(resolvedOf(alert(target)))
	}
	list := m.ended()
	m.stop()
	for f := range acknowledged {
		if !slices.ContainsFunc(list, func(inc incident.Incident) bool {
			return slices.ContainsFunc(inc.Alerts, func(a incident.Alert) bool { return a.Fingerprint == f })
		}) {
			t.Errorf("alert %s was acknowledged and is in no incident", f)
		}
	}
	return j, j.judge(list)
}

// ended waits until nothing is open any more.
func (m *mortal) ended() []incident.Incident {
	for until := time.Now().Add(90 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var list, open []incident.Incident
		m.always("All", struct{}{}, &list)
		for _, inc := range list {
			if !hasKind(inc, "notified") {
				open = append(open, inc)
			}
		}
		if len(open) == 0 {
			return list
		}
		if time.Now().After(until) {
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
			m.t.Fatalf("%d of %d incidents have no end after 90 s, the first, %s, is %s: %v\n%s", len(open), len(list), open[0].ID, open[0].Phase, open[0].Timeline, m.cmd.Stderr)
		}
	}
}

// judge looks at how it all ended.
func (j *jungle) judge(list []incident.Incident) (outcomes map[incident.Outcome]int) {
	outcomes = map[incident.Outcome]int{}
	for _, inc := range list {
		outcomes[inc.Outcome]++
		if !inc.Phase.Closed() || inc.Outcome.Phase() != inc.Phase || inc.Reason == "" && inc.Outcome != incident.Superseded {
			j.t.Errorf("incident %s: phase %s, outcome %q, reason %q", inc.ID, inc.Phase, inc.Outcome, inc.Reason)
		}
		for i, e := range inc.Timeline {
			if e.Seq != i+1 {
				j.t.Errorf("incident %s: line %d has seq %d", inc.ID, i+1, e.Seq)
			}
		}
		for step := range 2 {
			n := j.effects[fmt.Sprintf("%s/%d", inc.ID, step)]
			if n < 0 || n > 1 {
				j.t.Errorf("step %d of incident %s is %d times in effect", step+1, inc.ID, n)
			}
			// What stays is said: fixed, or failed with a reason, or nobody knows.
			said := inc.Outcome == incident.Fixed || inc.Outcome == incident.Failed || inc.Outcome == incident.Interrupted
			if n == 1 && !said {
				j.t.Errorf("incident %s is %s (%s), and step %d of it is in effect", inc.ID, inc.Outcome, inc.Reason, step+1)
			}
		}
	}
	j.t.Logf("%d incidents, %d applied, %d undone, %d deaths: %v", len(list), j.applied, j.undone, j.deaths, outcomes)
	return outcomes
}
