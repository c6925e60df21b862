package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
)

// responder is a real `kmend serve`, as it comes: in dry run.
type responder struct {
	*cluster
	*server.Server
	data string       // the folder of its database
	next map[kind]int // what the next alert of this kind is about
}

// respond starts kmend in the cluster, as it is now.
func (c *cluster) respond(kubeconfig string, agents server.Agent, change func(*server.Options)) *responder {
	c.Helper()
	o := server.Options{Binary: kmend, Dir: c.TempDir(), DryRun: true, Kubeconfig: kubeconfig, Agent: agents}
	if change != nil {
		change(&o)
	}
	s, err := server.Start(c.Context(), o)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if c.Failed() {
			c.Logf("kmend logged:\n%s", s.Tail())
		}
		if s.Ended() == nil {
			if err := s.Stop(); err != nil {
				c.Error(err)
			}
		}
	})
	return &responder{c, s, filepath.Join(o.Dir, "data"), map[kind]int{}}
}

// usage is what kmend's process takes.
type usage struct {
	CPU        float64 // seconds so far
	RSS, Peak  float64 // MiB of memory, now and at most
	Live       float64 // MiB of its heap that the last garbage collection found in use
	Goroutines float64
}

func (r *responder) usage() (u usage) {
	r.Helper()
	now, err := metrics(r.Context(), r.URL)
	if err != nil {
		r.Fatal(err)
	}
	u = usage{CPU: now["process_cpu_seconds_total"], RSS: now["process_resident_memory_bytes"] / (1 << 20),
		Live: live(now), Goroutines: now["go_goroutines"]}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(r.PID()), "status"))
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 64)
			if err != nil {
				r.Fatal(err)
			}
			u.Peak = n / 1024
		}
	}
	return u
}

// live is what the last garbage collection found in use, in MiB: the next begins when
// the heap is GOGC percent more.
func live(metrics map[string]float64) float64 {
	return metrics["go_memstats_next_gc_bytes"] / (1 + metrics["go_gc_gogc_percent"]/100) / (1 << 20)
}

// metrics are the ones without labels that a program has at /metrics.
func metrics(ctx context.Context, url string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil { // else a comment
			out[name] = n
		}
	}
	return out, lines.Err()
}

// kind is what alerts name.
type kind string

const (
	aPod        kind = "pod"
	aDeployment kind = "deployment"
	aService    kind = "service"
)

// alerts is one notification about n targets that no alert of the kind was about before.
func (r *responder) alerts(of kind, n int) []byte {
	r.Helper()
	type alert struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		StartsAt    time.Time         `json:"startsAt"`
		Fingerprint string            `json:"fingerprint"`
	}
	var list []alert
	for range n {
		i := r.next[of]
		r.next[of]++
		labels := map[string]string{"alertname": "CPUThrottlingHigh", "container": "app"}
		if of == aPod {
			labels["pod"] = podOf(i/replicas, i%replicas)
			i /= replicas
		} else {
			labels[string(of)] = shop(i)
		}
		if labels["namespace"] = namespace(i); i*replicas >= r.pods {
			r.Fatalf("the %d pods of the cluster are too few for another alert about a %s", r.pods, of)
		}
		// An alert fires some time after what it is about began.
		list = append(list, alert{"firing", labels, time.Now().Add(-time.Minute), fmt.Sprintf("%016x", r.next[of])})
	}
	b, err := json.Marshal(map[string]any{"version": "4", "groupKey": fmt.Sprintf(`{}:{%s="%d"}`, of, r.next[of]), "status": "firing", "receiver": "kmend",
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{}, "externalURL": "http://am", "alerts": list})
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// incidents sends alerts about n targets at once and waits until every one of their
// incidents has ended as it should: planned, with the API server's own dry run.
func (r *responder) incidents(of kind, n int) []incident.Incident {
	r.Helper()
	began := time.Now()
	status, answer, err := r.Deliver(r.Context(), r.alerts(of, n))
	if err != nil || status/100 != 2 {
		r.Fatalf("posting %d alerts: %d %q, %v", n, status, answer, err)
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), 5*time.Minute, errors.New("not within 5 minutes: all incidents are closed"))
	defer cancel()
	for {
		open, err := r.Open(ctx)
		if err != nil {
			r.Fatal(err)
		}
		if len(open) == 0 {
			break
		}
		if ctx.Err() != nil {
			r.Fatalf("%v; %d are open", context.Cause(ctx), len(open))
		}
		time.Sleep(max(50*time.Millisecond, time.Duration(len(open))*5*time.Millisecond)) // the answer is work for kmend, too
	}
	all, err := r.Incidents(ctx)
	if err != nil {
		r.Fatal(err)
	}
	var out []incident.Incident
	for _, short := range all {
		if short.ReceivedAt.Before(began) {
			continue
		}
		inc, err := r.Incident(ctx, short.ID)
		if err != nil {
			r.Fatal(err)
		}
		if inc.Outcome != incident.DryRun || inc.Plan == nil || inc.Plan.Steps[0].Preview == nil || !strings.Contains(inc.Plan.Steps[0].Preview.Server, "server-side dry run") {
			r.Errorf("%s ended as %s: %s", inc.Target, inc.Outcome, inc.Reason)
		}
		out = append(out, inc)
	}
	if len(out) != n {
		r.Errorf("%d incidents for alerts about %d targets", len(out), n)
	}
	if r.Failed() {
		r.FailNow()
	}
	return out
}

// after is how long after they came in incidents got to an event of their timelines.
func after(incidents []incident.Incident, kind string) (out []time.Duration) {
	for _, inc := range incidents {
		for _, e := range inc.Timeline {
			if e.Kind == kind {
				out = append(out, e.At.Sub(inc.ReceivedAt))
				break
			}
		}
	}
	return out
}
