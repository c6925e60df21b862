package scale

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
)

// What one incident may cost the API server, whatever the size of the cluster. One
// about a Deployment or a Service looks at up to five of its pods.
var most = map[kind]int{aPod: 20, aDeployment: 40, aService: 40}

const (
	mostMemory = 300 // MiB, of the responder at any time
	// An incident that has ended is in the database. What is left of it in memory is
	// less than this, in MiB: the heap of two garbage collections differs by some.
	mostPerIncident = 0.0625
)

// size is a cluster that is measured, and with how many incidents.
type size struct {
	nodes, pods int
	each, storm int // incidents of each kind, one notification; and at once
	counting    int // incidents at once with a policy that counts the whole cluster
}

// figures are what was measured at a size.
type figures struct {
	size
	First       time.Duration // from the start of the program to a plan for a Deployment
	Idle        usage         // when the cluster is known
	Kinds       map[kind]cost
	Storm       cost
	PerIncident float64 // MiB that are left of one
	End         usage
	Record      int64 // bytes of the database for one
	Counting    cost  // with a policy that counts the pods of the whole cluster
	Counted     usage
}

// cost is that of some incidents that came at once.
type cost struct {
	Incidents      int
	Requests       requests
	Resolved, Plan []time.Duration // after they came, sorted
	Took           time.Duration
	CPU            float64 // seconds
}

func (c cost) perIncident() float64 { return float64(c.Requests.Sum()) / float64(c.Incidents) }

// Neither the requests of an incident nor the memory that it leaves grow with the cluster.
func TestSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server; `make test` runs it")
	}
	compare(t, size{10, 200, 5, 50, 5}, size{200, 600, 5, 50, 5})
}

// TestFull is `make scale`.
func TestFull(t *testing.T) {
	path := os.Getenv("KMEND_SCALE")
	if path == "" {
		t.Skip("takes half an hour; make scale runs it")
	}
	report(t, path, compare(t, size{10, 500, 20, 200, 20}, size{1000, 10_000, 20, 200, 20}, size{5000, 50_000, 20, 200, 1}))
}

// compare measures one cluster as it grows.
func compare(t *testing.T, sizes ...size) (all []figures) {
	c := newCluster(t)
	kubeconfig := c.api.Grant(t)
	_, agents := startAgents(t)
	for _, s := range sizes {
		f := c.measure(s, kubeconfig, agents)
		all = append(all, f)
		for of, cost := range f.Kinds {
			small := all[0].Kinds[of].perIncident()
			if got := cost.perIncident(); got > float64(most[of]) || got > 1.1*small {
				t.Errorf("at %d nodes an incident about a %s takes %.1f requests to the API server; want at most %d, and at %d nodes it is %.1f:\n%s",
					s.nodes, of, got, most[of], sizes[0].nodes, small, cost.Requests)
			}
		}
		if got := f.Storm.perIncident(); got > float64(most[aPod]) {
			t.Errorf("at %d nodes one of %d incidents at once takes %.1f requests; want at most %d:\n%s", s.nodes, s.storm, got, most[aPod], f.Storm.Requests)
		}
		for _, peak := range []float64{f.End.Peak, f.Counted.Peak} {
			if peak > mostMemory {
				t.Errorf("at %d nodes the responder took %.0f MiB; want at most %d", s.nodes, peak, mostMemory)
			}
		}
		if f.PerIncident > mostPerIncident {
			t.Errorf("at %d nodes an incident that has ended leaves %.3f MiB in memory; want at most %.3f", s.nodes, f.PerIncident, mostPerIncident)
		}
	}
	return all
}

// measure grows the cluster and starts a responder that knows nothing of it.
func (c *cluster) measure(s size, kubeconfig string, agents server.Agent) figures {
	c.Helper()
	c.grow(s.nodes, s.pods)
	f := figures{size: s, Kinds: map[kind]cost{}}
	began := time.Now()
	r := c.respond(kubeconfig, agents, nil)
	r.incidents(aDeployment, 1)
	f.First = time.Since(began)
	f.Idle = r.usage()
	for _, of := range []kind{aPod, aDeployment, aService} {
		f.Kinds[of] = r.cost(of, s.each)
	}
	r.cost(aPod, s.storm) // after the first, what is made once is there
	before := r.usage()
	f.Storm = r.cost(aPod, s.storm)
	f.End = r.usage()
	f.PerIncident = (f.End.Live - before.Live) / float64(s.storm)
	c.Logf("%d nodes, %d pods: first plan after %s; idle %+v; end %+v; %.3f MiB left of an incident", s.nodes, s.pods, f.First.Round(time.Millisecond), f.Idle, f.End, f.PerIncident)
	r.stop()
	db, err := os.Stat(filepath.Join(r.data, "kmend.db"))
	if err != nil {
		c.Fatal(err)
	}
	f.Record = db.Size() / int64(1+3*s.each+2*s.storm)
	counting, err := filepath.Abs("testdata/counting.yaml")
	if err != nil {
		c.Fatal(err)
	}
	r = c.respond(kubeconfig, agents, func(o *server.Options) { o.Policies = []string{counting} })
	r.incidents(aDeployment, 1)
	f.Counting = r.cost(aPod, s.counting)
	f.Counted = r.usage()
	c.Logf("with a policy that counts the cluster: %+v", f.Counted)
	r.stop()
	return f
}

func (r *responder) stop() {
	r.Helper()
	if err := r.Stop(); err != nil {
		r.Error(err)
	}
}

// cost measures n incidents that come at once.
func (r *responder) cost(of kind, n int) cost {
	r.Helper()
	_, at := r.events(0)
	before, began := r.usage(), time.Now()
	list := r.incidents(of, n)
	took := lasted(list, began)
	events, _ := r.events(at)
	for _, e := range events {
		if e.unbounded() {
			r.Errorf("kmend asks for all of the cluster at once: %s", e.RequestURI)
		}
	}
	c := cost{Incidents: n, Requests: count(events), Resolved: after(list, "confirmed"), Plan: after(list, "planned"), Took: took, CPU: r.usage().CPU - before.CPU}
	if len(c.Resolved) != n || len(c.Plan) != n {
		r.Fatalf("of %d incidents %d were confirmed and %d planned", n, len(c.Resolved), len(c.Plan))
	}
	slices.Sort(c.Resolved)
	slices.Sort(c.Plan)
	r.Logf("%d incidents about a %s: %s; confirmed after %s, planned after %s (median; at most %s); %.1f requests each (%s)",
		n, of, took.Round(time.Millisecond), c.Resolved[n/2].Round(time.Millisecond), c.Plan[n/2].Round(time.Millisecond), c.Plan[n-1].Round(time.Millisecond), c.perIncident(), c.Requests)
	return c
}

// lasted is the time until the last of them ended.
func lasted(list []incident.Incident, began time.Time) (d time.Duration) {
	for _, inc := range list {
		d = max(d, inc.ClosedAt.Sub(began))
	}
	return d
}
