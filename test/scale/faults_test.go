package scale

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/server"
)

// between is a random time, in seconds.
func (s *soak) between(least, most float64) time.Duration {
	return time.Duration((least + s.rand.Float64()*(most-least)) * float64(time.Second))
}

// fault takes one or two of what kmend needs away for some seconds, or kills a replica.
func (s *soak) fault() {
	s.Helper()
	faults := [...]struct {
		name string
		do   func() (heal func())
	}{ // in the order in which they are healed: a replica does not start without the database
		{"the API server is killed", func() func() { return s.api.Down(s.T) }},
		{"PostgreSQL is killed", func() func() { return s.db.Down() }},
		{"Slack is down", s.slackDown},
		{"an agent is killed", s.agentDown},
		{"a replica is killed", s.replicaDown},
	}
	if len(s.next) == 0 { // each comes, in an order of chance
		s.next = s.rand.Perm(len(faults))
	}
	first, second := s.next[0], s.rand.IntN(len(faults))
	s.next = s.next[1:]
	var heal []func()
	for i, f := range faults {
		if i == first || i == second {
			s.Logf("%s %s", time.Now().UTC().Format("15:04:05"), f.name)
			heal = append(heal, f.do())
			s.fell[i]++
		}
	}
	time.Sleep(s.between(1, 6))
	for _, h := range heal {
		h()
	}
}

// slackDown has Slack answer as it does in an outage, or not take so much.
func (s *soak) slackDown() (heal func()) {
	status, body := http.StatusServiceUnavailable, "upstream connect error"
	if s.rand.IntN(2) == 0 {
		status, body = http.StatusOK, `{"ok":false,"error":"internal_error"}`
	}
	s.slack.Break(func(string) (int, string) { return status, body })
	return func() { s.slack.Break(nil) }
}

func (s *soak) agentDown() (heal func()) {
	s.Helper()
	i := s.rand.IntN(len(s.agents))
	if err := s.agents[i].Kill(); err != nil {
		s.Fatal(err)
	}
	return func() { s.Helper(); s.startAgent(i) }
}

// replicaDown kills the second replica, and early on the first as well.
func (s *soak) replicaDown() (heal func()) {
	s.Helper()
	i := 1
	if time.Now().Before(s.calm) {
		i = s.rand.IntN(len(s.replicas))
	}
	s.kills++
	if err := s.replica(i).Kill(); err != nil {
		s.Fatal(err)
	}
	return func() { s.Helper(); s.replicaUp(i) }
}

// replicaUp starts a replica again, as a kubelet would: until it runs.
func (s *soak) replicaUp(i int) {
	s.Helper()
	var last error
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		var r *server.Server
		if r, last = s.replica(i).Again(s.Context(), nil); last == nil {
			s.mu.Lock()
			s.replicas[i] = r
			s.mu.Unlock()
			return
		}
	}
	s.Fatalf("replica %d does not start: %v", i, last)
}

// startAgents starts a real agent for each node. On this machine are the pods of both.
func (s *soak) startAgents() (out []server.Agent) {
	s.Helper()
	program := filepath.Join(filepath.Dir(kmend), "kmend-agent")
	for i := range s.agents {
		addr, err := process.FreeAddr()
		if err != nil {
			s.Fatal(err)
		}
		s.starts[i] = process.Spec{Name: "kmend-agent", Path: program, Args: []string{"serve", "--listen=" + addr, "--insecure-loopback",
			"--node-name=" + nodeName(i), "--socket=", "--no-recorder", "--patience=200ms"}}
		s.startAgent(i)
		out = append(out, server.Agent{Node: nodeName(i), URL: "http://" + addr})
	}
	s.Cleanup(func() {
		for _, a := range s.agents {
			if s.Failed() {
				s.Logf("an agent logged:\n%s", a.Tail())
			}
			_ = a.Kill() // it may have ended
		}
	})
	return out
}

func (s *soak) startAgent(i int) {
	s.Helper()
	var err error
	if s.agents[i], err = process.Start(s.starts[i]); err != nil {
		s.Fatal(err)
	}
	addr := s.starts[i].Args[1][len("--listen="):]
	ctx, cancel := context.WithTimeoutCause(s.Context(), 30*time.Second, errors.New("not within 30 s"))
	defer cancel()
	err = s.agents[i].WaitFor(ctx, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		s.Fatal(fmt.Errorf("starting an agent: %w", err))
	}
}
