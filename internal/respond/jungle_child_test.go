package respond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// Question is what a kmend that is a process of its own asks the world.
type Question struct {
	Life          int // of the process that asks
	What          string
	Target        incident.Target
	Incident      incident.Incident
	Plan          incident.Plan
	Step          int
	Done          incident.Execution
	Before, After incident.Diagnosis
}

type Answer struct {
	Diagnosis    incident.Diagnosis
	Decision     incident.Decision
	Why          string
	Plan         incident.Plan
	Execution    incident.Execution
	Verification incident.Verification
	Error        string
}

// inJungle is kmend with its stages in the process that started it. What is sent
// and said to it comes from there too, until SIGTERM.
func (c child) inJungle(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	world, err := jsonrpc.Dial("unix", filepath.Join(c.Dir, "world"))
	if err != nil {
		return err
	}
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	o := options(s, c.asking(world))
	o.ApprovalExpiry, o.StageTimeout = 400*time.Millisecond, 5*time.Second
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := New(o)
	if err != nil {
		return err
	}
	if err := serve(c.door(), "Kmend", &door{r, s}); err != nil {
		return err
	}
	if err := r.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return r.Stop(ctx)
}

// serve lets other processes call what has methods (net/rpc), until this one ends.
func serve(socket, name string, methods any) error {
	server := rpc.NewServer()
	if err := server.RegisterName(name, methods); err != nil {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go server.ServeCodec(jsonrpc.NewServerCodec(conn))
		}
	}()
	return nil
}

// door is where a life of kmend is reached.
func (c child) door() string { return filepath.Join(c.Dir, fmt.Sprint("kmend", c.Life)) }

// asking are stages that ask the world.
func (c child) asking(world *rpc.Client) *stages {
	ask := func(q Question) (a Answer, err error) {
		q.Life = c.Life
		if err := world.Call("World.Ask", q, &a); err != nil {
			return a, err
		}
		if a.Error != "" {
			err = errors.New(a.Error)
		}
		return a, err
	}
	return &stages{
		diagnose: func(_ context.Context, t incident.Target, _ time.Duration) (incident.Diagnosis, error) {
			a, err := ask(Question{What: "diagnose", Target: t})
			return a.Diagnosis, err
		},
		plan: func(inc incident.Incident) (incident.Plan, bool, string, error) {
			a, err := ask(Question{What: "plan", Incident: inc})
			return a.Plan, true, "", err
		},
		paused: func() (string, error) {
			a, err := ask(Question{What: "paused"})
			return a.Why, err
		},
		decide: func(inc incident.Incident, p incident.Plan) incident.Decision {
			a, err := ask(Question{What: "decide", Plan: p})
			if err != nil {
				return incident.Decision{Effect: incident.Deny, Reason: err.Error()}
			}
			return a.Decision
		},
		preview: func(_ context.Context, p incident.Plan) (incident.Plan, error) {
			a, err := ask(Question{What: "preview", Plan: p})
			return a.Plan, err
		},
		apply: func(_ context.Context, p incident.Plan, step int) (incident.Execution, error) {
			a, err := ask(Question{What: "apply", Plan: p, Step: step})
			return a.Execution, err
		},
		undo: func(_ context.Context, p incident.Plan, done incident.Execution) (incident.Execution, error) {
			a, err := ask(Question{What: "undo", Plan: p, Done: done})
			return a.Execution, err
		},
		verify: func(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
			a, err := ask(Question{What: "verify", Plan: p, Before: before, After: after})
			if err != nil {
				return incident.Verification{Reason: err.Error(), Diagnosis: after}
			}
			return a.Verification
		},
	}
}

// World answers what any life of kmend asks.
type World struct{ *jungle }

// Ask may have no effect, or one that nobody hears of: kmend is killed before or after it.
func (w World) Ask(q Question, a *Answer) error {
	if w.mayDie(); w.over(q.Life) {
		return errors.New("this life of kmend is over")
	}
	defer w.mayDie()
	var err error
	ctx, d := context.Background(), w.stages()
	switch q.What {
	case "diagnose":
		a.Diagnosis, err = d.diagnose(ctx, q.Target, 0)
	case "plan":
		a.Plan, _, _, err = d.plan(q.Incident)
	case "paused":
		a.Why, err = d.paused()
	case "decide":
		a.Decision = d.decide(q.Incident, q.Plan)
	case "preview":
		a.Plan, err = d.preview(ctx, q.Plan)
	case "apply":
		a.Execution, err = d.apply(ctx, q.Plan, q.Step)
	case "undo":
		a.Execution, err = d.undo(ctx, q.Plan, q.Done)
	case "verify":
		a.Verification = d.verify(q.Plan, q.Before, q.After)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return nil
}

// door is what a person and a sender reach of kmend (net/rpc).
type door struct {
	r *Responder
	s *store.Store
}

func (d *door) Ingest(n incident.Notification, _ *struct{}) error {
	return d.r.Ingest(context.Background(), n)
}

// Approve sets taken unless kmend refuses the answer.
func (d *door) Approve(a incident.Approval, taken *bool) error {
	err := d.r.Approve(context.Background(), a)
	*taken = err == nil
	if store.Refused(err) {
		return nil
	}
	return err
}

func (d *door) List(f store.Filter, list *[]incident.Incident) (err error) {
	*list, err = d.s.List(context.Background(), f)
	return err
}

// All are every episode of every incident.
func (d *door) All(_ struct{}, all *[]incident.Incident) error {
	last, err := d.s.List(context.Background(), store.Filter{})
	if err != nil {
		return err
	}
	for _, inc := range last {
		*all = append(*all, inc)
		for n := 1; n < inc.Episode; n++ {
			id := inc.First
			if n > 1 {
				id = fmt.Sprintf("%s.%d", inc.First, n)
			}
			before, err := d.s.Get(context.Background(), id)
			if err != nil {
				return err
			}
			*all = append(*all, before)
		}
	}
	return nil
}

func (d *door) Get(id string, inc *incident.Incident) (err error) {
	*inc, err = d.s.Get(context.Background(), id)
	return err
}

// mortal is a kmend that is killed from time to time, and started again.
type mortal struct {
	child
	t      *testing.T
	world  *jungle
	cmd    *exec.Cmd
	client *rpc.Client
}

// live starts the next life, and returns when it can be reached.
func (m *mortal) live() {
	m.world.mu.Lock()
	m.Life = m.world.life
	m.cmd = m.start(m.t)
	m.world.kill = m.cmd.Process.Kill
	m.world.mu.Unlock()
	for until := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		client, err := jsonrpc.Dial("unix", m.door())
		if err == nil {
			m.client = client
			return
		}
		if time.Now().After(until) {
			_ = m.cmd.Process.Kill()
			_ = m.cmd.Wait()
			m.t.Fatalf("kmend is not there after a minute: %v: %s", err, m.cmd.Stderr)
		}
	}
}

// stop ends a life in good order, unless it is over.
func (m *mortal) stop() {
	m.world.mu.Lock()
	m.world.deadly = 0
	m.world.mu.Unlock()
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	if err := m.cmd.Wait(); err != nil && !m.world.over(m.Life) {
		m.t.Errorf("stopping kmend: %v: %s", err, m.cmd.Stderr)
	}
	m.client.Close()
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	m.world.life++
	m.world.deadly = deadly
}

// ask calls kmend. An error means that nobody knows what it heard: it was killed, and
// lives again.
func (m *mortal) ask(method string, args, reply any) error {
	err := m.client.Call("Kmend."+method, args, reply)
	if said, ok := errors.AsType[rpc.ServerError](err); err == nil || ok {
		if ok {
			m.t.Errorf("%s: %v", method, said)
		}
		return nil
	}
	ended := m.cmd.Wait()
	if !m.world.over(m.Life) {
		m.t.Fatalf("%s: %v; kmend ended by itself: %v: %s", method, err, ended, m.cmd.Stderr)
	}
	m.client.Close()
	m.live()
	return err
}

// always asks until it is answered.
func (m *mortal) always(method string, args, reply any) {
	for m.ask(method, args, reply) != nil {
	}
}
