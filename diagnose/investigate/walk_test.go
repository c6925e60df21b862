package investigate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/traces"
	"github.com/kmend/kmend/incident"
)

// world is what nodes, a cluster and traces say; of a target by its name.
type world struct {
	t         *testing.T
	says      map[string]answer
	addresses map[string]string // pods, several with a space between
	stops     []traces.Stop
	wayErr    error

	mu       sync.Mutex
	measured []string
}

// answer is a diagnosis in short.
type answer struct {
	cause incident.Cause // "": clean
	waits []string       // addresses, the most waited for first
	here  map[string]string
	also  incident.Cause // a second finding
}

func (w *world) measure(_ context.Context, t incident.Target) (incident.Diagnosis, error) {
	name := t.Pod
	if name == "" {
		name = strings.TrimPrefix(t.Cgroup, "/cg/")
	}
	w.mu.Lock()
	w.measured = append(w.measured, name)
	w.mu.Unlock()
	s, ok := w.says[name]
	if !ok {
		return incident.Diagnosis{}, fmt.Errorf("nobody knows %q", name)
	}
	d := incident.Diagnosis{Target: t, Node: incident.Node{Name: "n1"}, Verdict: incident.Clean, Findings: []incident.Finding{{Verdict: incident.Clean, Message: "clean"}}}
	d.Target.Cgroup = "/cg/" + name
	if s.cause == "" {
		return d, nil
	}
	d.Verdict = incident.Confirmed
	f := incident.Finding{Cause: s.cause, Verdict: incident.Confirmed, Message: string(s.cause)}
	for i, at := range s.waits {
		id := fmt.Sprintf("e%d", i+1)
		d.Evidence = append(d.Evidence, incident.Evidence{ID: id, Probe: "tcp", Metric: "waited", Subject: at, Value: float64(1000 - i)})
		f.Evidence = append(f.Evidence, id)
	}
	d.Findings = []incident.Finding{f}
	if s.also != "" {
		d.Findings = append(d.Findings, incident.Finding{Cause: s.also, Verdict: incident.Confirmed, Evidence: []string{"e1"}})
	}
	for address, group := range s.here {
		d.Peers = append(d.Peers, incident.Peer{Address: address, PID: 7, Cgroup: group})
	}
	return d, nil
}

func (w *world) ByAddress(_ context.Context, ip netip.Addr) (behind []incident.Target, _ error) {
	for _, pod := range strings.Fields(w.addresses[ip.String()+":80"]) {
		behind = append(behind, incident.Target{Node: "n2", Namespace: "shop", Pod: pod})
	}
	return behind, nil
}

func (w *world) Name() string { return "jaeger" }

func (w *world) Way(_ context.Context, services []string, start, end time.Time) (traces.Way, error) {
	if !slices.Contains(services, "front") || !start.Before(end) {
		w.t.Errorf("traces were asked for %q from %s to %s", services, start, end)
	}
	return traces.Way{Stops: w.stops, Message: "traces"}, w.wayErr
}

// run investigates an alert about front.
func (w *world) run(change func(*Options)) (incident.Diagnosis, string) {
	w.t.Helper()
	i := investigator(w.t, func(o *Options) {
		o.Addresses = w
		if w.stops != nil || w.wayErr != nil {
			o.Tracers = []Tracer{w}
		}
		if change != nil {
			change(o)
		}
	})
	inc := incident.Incident{Target: incident.Target{Namespace: "shop", Pod: "front"}, ReceivedAt: time.Now(),
		Alerts: []incident.Alert{{Labels: map[string]string{"service": "front"}, StartsAt: time.Now().Add(-time.Minute)}}}
	d, err := i.Investigate(w.t.Context(), inc, w.measure)
	if err != nil {
		w.t.Fatal(err)
	}
	return d, d.Investigation.Path()
}

const (
	toCart  = "10.0.0.2:80"
	toStock = "10.0.0.3:80"
)

var shop = map[string]string{toCart: "cart", toStock: "stock"}

func stop(service string) traces.Stop {
	return traces.Stop{Service: service, Target: incident.Target{Namespace: "shop", Pod: service}, Why: "own time 300 ms",
		Evidence: []incident.Evidence{{Metric: "own_time", Value: 300}}}
}

func TestWalk(t *testing.T) {
	slow := func(to ...string) answer { return answer{cause: incident.NetPeerSlow, waits: to} }
	throttle := answer{cause: incident.CPUThrottled}
	for name, c := range map[string]*struct {
		world
		path     string
		root     string // who the diagnosis is about
		verdict  incident.Verdict
		measured int
	}{
		"sockets lead to the third": {
			world: world{says: map[string]answer{"front": slow(toCart), "cart": slow(toStock), "stock": throttle}, addresses: shop},
			path:  "front -> cart -> stock (cpu.throttled)", root: "stock", verdict: incident.Confirmed, measured: 3},
		"a confirmed cause of its own stays the root": {
			world: world{says: map[string]answer{"front": throttle, "cart": throttle}, addresses: shop},
			root:  "front", verdict: incident.Confirmed, measured: 1},
		"so it does where it waits for a peer as well": {
			world: world{says: map[string]answer{"front": {cause: incident.CPUThrottled, also: incident.NetPeerSlow, waits: []string{toCart}}, "cart": throttle}, addresses: shop},
			root:  "front", verdict: incident.Confirmed, measured: 1},
		"what is clean below does not take it over": {
			world: world{says: map[string]answer{"front": slow(toCart), "cart": slow(toStock), "stock": {}}, addresses: shop},
			path:  "front -> cart (net.peer_slow) -> stock", root: "cart", verdict: incident.Confirmed, measured: 3},
		"a circle ends": {
			world: world{says: map[string]answer{"front": slow(toCart), "cart": slow(toStock), "stock": slow("10.0.0.1:80")}, addresses: map[string]string{toCart: "cart", toStock: "stock", "10.0.0.1:80": "front"}},
			path:  "front -> cart -> stock (net.peer_slow)", root: "stock", verdict: incident.Confirmed, measured: 3},
		"a circle by another name ends": {
			world: world{says: map[string]answer{"front": slow(toCart), "cart": {cause: incident.NetPeerSlow, waits: []string{"127.0.0.1:1"}, here: map[string]string{"127.0.0.1:1": "/cg/front"}}}, addresses: shop},
			path:  "front -> cart (net.peer_slow)", root: "cart", verdict: incident.Confirmed, measured: 2},
		"the second peer where the first is nobody known": {
			world: world{says: map[string]answer{"front": slow("192.0.2.1:5", toCart), "cart": throttle}, addresses: shop},
			path:  "front -> cart (cpu.throttled)", root: "cart", verdict: incident.Confirmed, measured: 2},
		"several pods behind an address are asked side by side": {
			world: world{says: map[string]answer{"front": slow(toCart), "cart-1": {}, "cart-2": throttle, "cart-3": {}}, addresses: map[string]string{toCart: "front cart-1 cart-2 cart-3"}},
			path:  "front -> cart-2 (cpu.throttled)", root: "cart-2", verdict: incident.Confirmed, measured: 4},
		"a process of the same node": {
			world: world{says: map[string]answer{"front": {cause: incident.NetPeerSlow, waits: []string{"127.0.0.1:8"}, here: map[string]string{"127.0.0.1:8": "/cg/stock"}}, "stock": throttle}},
			path:  "front -> stock (cpu.throttled)", root: "stock", verdict: incident.Confirmed, measured: 2},
		"traces lead to the third": {
			world: world{says: map[string]answer{"front": slow("192.0.2.1:5"), "cart": {}, "stock": throttle}, stops: []traces.Stop{stop("front"), stop("cart"), stop("stock")}},
			path:  "front -> cart -> stock (cpu.throttled)", root: "stock", verdict: incident.Confirmed, measured: 3},
		"a clean chain stays clean": {
			world: world{says: map[string]answer{"front": {}, "cart": {}, "stock": {}}, stops: []traces.Stop{stop("front"), stop("cart"), stop("stock")}},
			path:  "front -> cart -> stock", root: "front", verdict: incident.Clean, measured: 3},
		"sockets go on where traces end": {
			world: world{says: map[string]answer{"front": {}, "cart": slow(toStock), "stock": throttle}, addresses: shop, stops: []traces.Stop{stop("front"), stop("cart")}},
			path:  "front -> cart -> stock (cpu.throttled)", root: "stock", verdict: incident.Confirmed, measured: 3},
		"sockets say who the last of the traces is": {
			world: world{says: map[string]answer{"front": {}, "cart": slow(toStock), "stock": throttle}, addresses: shop, stops: []traces.Stop{stop("front"), stop("cart"), {Service: "redis-main"}}},
			path:  "front -> cart -> redis-main (cpu.throttled)", root: "stock", verdict: incident.Confirmed, measured: 3},
		"an address of a peer without spans": {
			world: world{says: map[string]answer{"front": {}, "stock": throttle}, addresses: shop, stops: []traces.Stop{stop("front"), {Service: "redis", Address: netip.MustParseAddrPort(toStock)}}},
			path:  "front -> redis (cpu.throttled)", root: "stock", verdict: incident.Confirmed, measured: 2},
		"who is nobody's is said, and not measured": {
			world: world{says: map[string]answer{"front": {}}, stops: []traces.Stop{stop("front"), {Service: "saas"}}},
			path:  "front -> saas", root: "front", verdict: incident.Clean, measured: 1},
		"traces that fail leave the sockets": {
			world: world{says: map[string]answer{"front": slow(toCart), "cart": throttle}, addresses: shop, wayErr: errors.New("status 503")},
			path:  "front -> cart (cpu.throttled)", root: "cart", verdict: incident.Confirmed, measured: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := &c.world
			w.t = t
			d, path := w.run(nil)
			if path != c.path || d.Verdict != c.verdict || d.Target.Cgroup != "/cg/"+c.root || len(w.measured) != c.measured {
				t.Errorf("path %q, %s about %s, measured %q; want %q, %s about %s, %d measured", path, d.Verdict, d.Target.Cgroup, w.measured, c.path, c.verdict, c.root, c.measured)
			}
			if h, ok := d.Investigation.RootHop(); !ok || h.Verdict != d.Verdict {
				t.Errorf("root hop %+v", h)
			}
		})
	}
}

// However long the chain, no more than Depth hops are measured after the first.
func TestWalkIsBounded(t *testing.T) {
	w := &world{t: t, says: map[string]answer{"front": {cause: incident.NetPeerSlow, waits: []string{"10.0.0.1:80"}}}, addresses: map[string]string{}}
	for i := 1; i < 50; i++ {
		pod := fmt.Sprintf("p%d", i)
		w.addresses[fmt.Sprintf("10.0.0.%d:80", i)] = pod
		w.says[pod] = answer{cause: incident.NetPeerSlow, waits: []string{fmt.Sprintf("10.0.0.%d:80", i+1)}}
	}
	if d, _ := w.run(func(o *Options) { o.Depth = 3 }); len(d.Investigation.Hops) != 4 || len(w.measured) != 4 {
		t.Errorf("%d hops, measured %q", len(d.Investigation.Hops), w.measured)
	}
	w = &world{t: t, says: w.says, stops: []traces.Stop{stop("front")}}
	for i := 1; i < 50; i++ {
		w.stops = append(w.stops, stop(fmt.Sprintf("p%d", i)))
	}
	if d, _ := w.run(func(o *Options) { o.Depth = 3 }); len(d.Investigation.Hops) != 4 || len(w.measured) != 4 {
		t.Errorf("%d hops by traces, measured %q", len(d.Investigation.Hops), w.measured)
	}
}

// What the traces say is evidence with ids, cited by the hops; who failed is a source.
func TestWalkSaysWhatTracesSay(t *testing.T) {
	w := &world{t: t, says: map[string]answer{"front": {}, "cart": {cause: incident.CPUBusy}}, stops: []traces.Stop{stop("front"), stop("cart")}}
	d, _ := w.run(nil)
	v := d.Investigation
	if len(v.Evidence) != 2 || len(v.Hops[1].Evidence) != 1 || v.Hops[1].Why != "own time 300 ms" || v.Hops[1].Via != incident.ViaTrace {
		t.Fatalf("%+v", v)
	}
	for _, h := range v.Hops {
		for _, id := range h.Evidence {
			if !slices.ContainsFunc(v.Evidence, func(e incident.Evidence) bool { return e.ID == id }) {
				t.Errorf("%s cites %s of %+v", h.Service, id, v.Evidence)
			}
		}
	}
	if len(v.Observations) != 1 || v.Observations[0].Source != "jaeger" || len(v.Sources) != 1 || v.Sources[0].Status != incident.SourceOK {
		t.Errorf("observations %+v, sources %+v", v.Observations, v.Sources)
	}
	w = &world{t: t, says: w.says, wayErr: errors.New("status 503")}
	d, _ = w.run(nil)
	if s := d.Investigation.Sources; len(s) != 1 || s[0].Status != incident.SourceFailed || s[0].Reason != "status 503" {
		t.Errorf("sources %+v", s)
	}
}

// The flow stops where a measurement of a later hop says so.
func TestWalkStops(t *testing.T) {
	w := &world{t: t, says: map[string]answer{"front": {cause: incident.NetPeerSlow, waits: []string{toCart}}}, addresses: shop}
	i := investigator(t, func(o *Options) { o.Addresses = w })
	_, err := i.Investigate(t.Context(), incident.Incident{Target: incident.Target{Pod: "front"}}, w.measure)
	if err == nil || !strings.Contains(err.Error(), `nobody knows "cart"`) {
		t.Errorf("error is %v", err)
	}
}

func TestServices(t *testing.T) {
	i := investigator(t, func(*Options) {})
	for want, inc := range map[string]incident.Incident{
		"a b front": {Alerts: []incident.Alert{{Labels: map[string]string{"service": "b", "service_name": "a"}}}, Target: incident.Target{Pod: "front-6d4cf56db6-x2x9z"}},
		"web":       {Target: incident.Target{Pod: "web-abcde"}},
		"c web-1":   {Target: incident.Target{Pod: "web-1", Container: "c"}},
		"nginx":     {Target: incident.Target{Unit: "nginx.service"}},
		"":          {Target: incident.Target{Cgroup: "/a"}},
	} {
		if got := strings.Join((&walk{Investigator: i}).services(inc), " "); got != want {
			t.Errorf("services of %+v are %q, want %q", inc, got, want)
		}
	}
}

// A measurement that panics is an answer, and the others go on: in a goroutine of its
// own it would end kmend, and again after every start.
func TestPanics(t *testing.T) {
	i := investigator(t, func(o *Options) { o.Workloads = cluster{"n1", "n2"} })
	d, err := i.Investigate(t.Context(), incident.Incident{Target: cart}, func(ctx context.Context, t incident.Target) (incident.Diagnosis, error) {
		if t.Pod == "cart-1" {
			panic("no such ledger")
		}
		return says("", "cpu.busy=40")(ctx, t)
	})
	if err != nil || d.Verdict != incident.Confirmed || d.Target.Pod != "cart-2" {
		t.Errorf("%s of %s, %v", d.Verdict, d.Target, err)
	}
	d, err = i.Investigate(t.Context(), incident.Incident{Target: web}, func(context.Context, incident.Target) (incident.Diagnosis, error) { panic("no such ledger") })
	if err != nil || d.Verdict != incident.Inconclusive || !strings.Contains(d.Findings[0].Message, "internal error: panic: no such ledger") {
		t.Errorf("%s %v, %v", d.Verdict, d.Findings, err)
	}
}

// named are pods that the cluster knows by the name of a service.
type named map[string][]string

func (named) Listed(context.Context) {}

func (n named) Pods(context.Context, incident.Target) ([]incident.Target, error) {
	return nil, errors.New("nobody asks for these")
}

func (n named) ByName(_ context.Context, name, near string) (pods []incident.Target, _ error) {
	for _, pod := range n[name] {
		pods = append(pods, incident.Target{Namespace: near, Pod: pod})
	}
	return pods, nil
}

// Where spans do not say in which pod they were, the service's name does, of several
// pods the worst; and what ran in another cluster is not looked for in this one.
func TestWalkByName(t *testing.T) {
	stock := traces.Stop{Service: "stock"}
	far := traces.Stop{Service: "stock", Target: incident.Target{Cluster: "us", Namespace: "shop", Pod: "stock-2"}}
	for name, tt := range map[string]struct {
		stop    traces.Stop
		cluster string
		want    string
	}{
		"by name":         {stock, "eu", "stock-2"},
		"another cluster": {far, "eu", "front"},
		"the same":        {far, "US", "stock-2"},
		"no cluster":      {far, "", "stock-2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, stops: []traces.Stop{{Service: "front"}, tt.stop}, says: map[string]answer{
				"front": {cause: incident.CPUBusy}, "stock-1": {}, "stock-2": {cause: incident.CPUThrottled}}}
			i := investigator(t, func(o *Options) { o.Workloads, o.Tracers = named{"stock": {"stock-1", "stock-2"}}, []Tracer{w} })
			d, err := i.Investigate(t.Context(), incident.Incident{Target: incident.Target{Cluster: tt.cluster, Namespace: "shop", Pod: "front"}, ReceivedAt: time.Now(),
				Alerts: []incident.Alert{{Labels: map[string]string{"service": "front"}}}}, w.measure)
			if err != nil || d.Target.Pod != tt.want || len(d.Investigation.Hops) != 2 {
				t.Errorf("came to %s, %v: %+v", d.Target, err, d.Investigation.Hops)
			}
		})
	}
}
