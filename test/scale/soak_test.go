package scale

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/test/postgres"
	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/server"
	standin "github.com/kmend/kmend/test/slack"
)

// soak is two replicas of kmend on PostgreSQL that act in a cluster, with two real
// agents, while each of what they need goes away now and then.
type soak struct {
	*cluster
	seed  uint64
	rand  *rand.Rand // of the faults
	db    *postgres.Server
	store *store.Store
	slack *standin.Server
	calm  time.Time // from then on the first replica is not killed: its memory is watched
	kills int       // of replicas
	fell  [5]int    // how often each fault did
	next  []int     // the faults that come next
	pods  string    // the cgroup of all patients

	agents [2]*process.Process
	starts [2]process.Spec

	mu       sync.Mutex
	replicas [2]*server.Server
	patients []patient // that alerts were sent about
}

// patient is a pod that one alert was sent about.
type patient struct {
	name string
	uid  types.UID
}

// TestSoak is part of `make soak`. However the faults fall, every alert that was
// taken is one incident that ends, what it does takes effect once, Slack has one
// message of it, and neither memory nor goroutines grow.
func TestSoak(t *testing.T) {
	asked := os.Getenv("KMEND_SOAK")
	if asked == "" {
		t.Skip("takes half an hour; make soak runs it, KMEND_SOAK=3m for less")
	}
	lasts, err := time.ParseDuration(asked)
	if err != nil || lasts < time.Minute {
		lasts = 30 * time.Minute // 1 asks for the long tests
	}
	s := newSoak(t)
	began := time.Now()
	s.calm = began.Add(lasts / 6)
	usage := s.watch()
	var wards sync.WaitGroup
	over := make(chan struct{})
	for ward := range 2 {
		wards.Go(func() { s.ward(ward, over) })
	}
	for time.Since(began) < lasts && !t.Failed() {
		s.fault()
		time.Sleep(s.between(5, 15))
	}
	close(over)
	wards.Wait()
	if t.Failed() {
		t.FailNow()
	}
	s.settled()
	s.oracle()
	flat(t, usage(), began, lasts)
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{cluster: newCluster(t), seed: uint64(time.Now().UnixNano())}
	if asked := os.Getenv("KMEND_SOAK_SEED"); asked != "" {
		var err error
		if s.seed, err = strconv.ParseUint(asked, 10, 64); err != nil {
			t.Fatalf("KMEND_SOAK_SEED: %v", err)
		}
	}
	t.Logf("KMEND_SOAK_SEED=%d", s.seed)
	s.rand = rand.New(rand.NewPCG(s.seed, 0))
	kubeconfig := s.api.Grant(t)
	s.grow(len(s.agents), replicas*2)
	s.wards()
	s.db = postgres.Start(t)
	url := s.db.Database("soak")
	var err error
	if s.store, err = store.OpenPostgres(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	s.slack = standin.Start(standin.Options{NoFiles: true})
	t.Cleanup(s.slack.Close)
	agents := s.startAgents()
	policy := s.write("policy.yaml", "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata:\n  name: soak\ndryRun: false\nrules:\n  - name: all\n    decide: allow\n    reason: it is a test\n")
	token := s.write("slack.token", standin.BotToken)
	for i := range s.replicas {
		r := s.respond(kubeconfig, agents[0], func(o *server.Options) {
			o.Others, o.DryRun, o.Policies = agents[1:], false, []string{policy}
			o.More = fmt.Sprintf("database: %q\nreplica: r%d\ncorrelateWithin: 0s\nslack:\n  botTokenFile: %q\n  channel: %q\n  apiURL: %q\n", url, i, token, standin.Channel, s.slack.APIURL())
		})
		s.replicas[i] = r.Server
	}
	t.Cleanup(func() { // those that were started again
		for i := range s.replicas {
			if r := s.replica(i); r.Ended() == nil {
				if t.Failed() {
					t.Logf("replica %d logged:\n%s", i, r.Tail())
				}
				_ = r.Kill()
			}
		}
	})
	return s
}

func (s *soak) write(name, text string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

func (s *soak) replica(i int) *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[i]
}

// settled waits until nothing is left to do: no open incident, every message final.
func (s *soak) settled() {
	s.Helper()
	var last string
	for until := time.Now().Add(5 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		open, err := s.store.List(s.Context(), store.Filter{Open: true})
		last = fmt.Sprintf("%d incidents are open, %v", len(open), err)
		if err == nil && len(open) == 0 {
			waiting := 0
			for _, inc := range s.incidents() {
				if m, err := s.store.Message(s.Context(), inc.Root()); err != nil || !m.Final {
					waiting++
				}
			}
			if last = fmt.Sprintf("%d messages are not complete", waiting); waiting == 0 {
				return
			}
		}
		if time.Now().After(until) {
			s.Fatalf("5 minutes after the last fault: %s", last)
		}
	}
}

// incidents are all of them.
func (s *soak) incidents() (all []incident.Incident) {
	s.Helper()
	for f := (store.Filter{}); ; {
		page, err := s.store.List(s.Context(), f)
		if err != nil {
			s.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		f.Before = page[len(page)-1].ID
	}
}

// oracle checks every patient: its one incident, what was done to it, its message.
func (s *soak) oracle() {
	s.Helper()
	of := map[string][]incident.Incident{}
	ended, why := map[incident.Outcome]int{}, map[string]int{}
	for _, inc := range s.incidents() {
		of[inc.Target.Pod] = append(of[inc.Target.Pod], inc)
		ended[inc.Outcome]++
		why[fmt.Sprintf("%s: %s", inc.Outcome, particular.ReplaceAllString(inc.Reason, "#"))]++
	}
	patches := s.patches()
	messages := map[string]int{}
	for _, m := range s.slack.Messages() {
		for _, p := range s.patients {
			if strings.Contains(m.Text+standin.Says(m.Blocks), p.name) {
				messages[p.name]++
			}
		}
	}
	twice, acted := 0, 0
	for _, p := range s.patients {
		incs := of[p.name]
		if len(incs) != 1 || !incs[0].Phase.Closed() || incs[0].Outcome == "" {
			s.Errorf("%s has %d incidents: %+v; want one that has ended", p.name, len(incs), incs)
			continue
		}
		s.effects(p, incs[0], patches[p.name])
		if len(patches[p.name]) > 0 {
			acted++
		}
		if twice += messages[p.name] - 1; messages[p.name] < 1 {
			s.Errorf("%s has no message in Slack", p.name)
		}
	}
	// A replica that is killed between Slack's answer and writing it down cannot know.
	if twice > s.kills {
		s.Errorf("%d messages are in Slack twice, and replicas were killed %d times", twice, s.kills)
	}
	if len(of) != len(s.patients) {
		s.Errorf("incidents about %d pods, alerts about %d", len(of), len(s.patients))
	}
	if problems := s.slack.Problems(); len(problems) > 0 {
		s.Errorf("Slack: %s", strings.Join(problems, "; "))
	}
	// Where kmend seldom acts, that it acts once says little.
	if acted < len(s.patients)/3 || ended[incident.Fixed] == 0 {
		s.Errorf("of %d incidents %d were acted upon and %d fixed", len(s.patients), acted, ended[incident.Fixed])
	}
	if slices.Contains(s.fell[:], 0) {
		s.Errorf("a fault never fell: %v", s.fell)
	}
	s.Logf("%d alerts, incidents by outcome: %v; %d acted upon; faults of each kind: %v; replicas were killed %d times; %d messages are twice in Slack", len(s.patients), ended, acted, s.fell, s.kills, twice)
	for _, reason := range slices.SortedFunc(maps.Keys(why), func(a, b string) int { return cmp.Or(why[b]-why[a], strings.Compare(a, b)) }) {
		s.Logf("%4d %s", why[reason], reason)
	}
}

// particular is what differs between the reasons of incidents that ended alike.
var particular = regexp.MustCompile(`[0-9a-f]*[0-9][0-9a-z.:-]*`)

// effects checks what was done to a pod: its generation counts the changes of its
// spec, and the audit log has the patches.
func (s *soak) effects(p patient, inc incident.Incident, patches map[string]int) {
	s.Helper()
	pod := s.patient(p.name)
	limit, changes := pod.Spec.Containers[0].Resources.Limits.Cpu().MilliValue(), pod.Generation-1
	want := int64(0)
	switch {
	case limit == raised:
		want = 1
	case changes > 0:
		want = 2 // and put back
	}
	if pod.UID != p.uid || changes != want || limit != raised && limit != throttledAt {
		s.Errorf("%s: its spec was changed %d times and the limit is %dm, want %d changes\n%s", p.name, changes, limit, want, timeline(inc))
	}
	if inc.Outcome == incident.Fixed && limit != raised {
		s.Errorf("%s is fixed, and its limit is %dm", p.name, limit)
	}
	for body, times := range patches {
		if times > 1 {
			s.Errorf("%s was patched %d times with %s\n%s", p.name, times, body, timeline(inc))
		}
	}
}

// patches are the resizes that the API server answered with success, by pod and by
// the limit in them.
func (s *soak) patches() map[string]map[string]int {
	s.Helper()
	out := map[string]map[string]int{}
	events, _ := s.events(0)
	for _, e := range events {
		if e.Verb != "patch" || e.ObjectRef.Subresource != "resize" || strings.Contains(e.RequestURI, "dryRun") || e.ResponseStatus.Code != 200 {
			continue
		}
		limit := fmt.Sprintf("limit of %dm", raised)
		if !strings.Contains(string(e.RequestObject), fmt.Sprintf("%dm", raised)) {
			limit = fmt.Sprintf("limit of %dm", throttledAt)
		}
		if out[e.ObjectRef.Name] == nil {
			out[e.ObjectRef.Name] = map[string]int{}
		}
		out[e.ObjectRef.Name][limit]++
	}
	return out
}

func timeline(inc incident.Incident) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n", inc.ID, inc.Outcome, inc.Reason)
	for _, e := range inc.Timeline {
		fmt.Fprintf(&b, "  %s %-12s %s\n", e.At.Format("15:04:05.000"), e.Kind, e.Message)
	}
	return b.String()
}

// sample is what a replica takes at a time.
type sample struct {
	at               time.Time
	live, goroutines float64
}

// watch samples the first replica until it is asked.
func (s *soak) watch() (stop func() []sample) {
	var samples []sample
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if m, err := metrics(s.Context(), s.replica(0).URL); err == nil {
				samples = append(samples, sample{time.Now(), live(m), m["go_goroutines"]})
			}
		}
	})
	return func() []sample { close(done); wg.Wait(); return samples }
}

// flat compares the least that was taken around a third of the time with the least
// at the end: what a replica takes between two incidents.
func flat(t *testing.T, samples []sample, began time.Time, lasts time.Duration) {
	t.Helper()
	least := func(from, to time.Time) (live, goroutines float64, err error) {
		for _, s := range samples {
			if s.at.Before(from) || s.at.After(to) {
				continue
			}
			if live == 0 || s.live < live {
				live = s.live
			}
			if goroutines == 0 || s.goroutines < goroutines {
				goroutines = s.goroutines
			}
		}
		if live == 0 {
			err = errors.New("no samples")
		}
		return live, goroutines, err
	}
	live, goroutines, err := least(began.Add(lasts/6), began.Add(lasts/3))
	endLive, endGoroutines, err2 := least(began.Add(lasts*5/6), time.Now())
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	t.Logf("at a third of the time %.1f MiB of heap and %.0f goroutines, at the end %.1f MiB and %.0f", live, goroutines, endLive, endGoroutines)
	if endLive > 1.15*live {
		t.Errorf("the heap grew from %.1f to %.1f MiB", live, endLive)
	}
	if endGoroutines > 1.15*goroutines {
		t.Errorf("there were %.0f goroutines, and at the end %.0f", goroutines, endGoroutines)
	}
}
