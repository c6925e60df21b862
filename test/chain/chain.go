// Package chain is three real services that call one another over HTTP, each a
// process in a cgroup of its own: front asks cart, cart asks stock, and clients ask
// front. They are traced with OpenTelemetry where a place to send traces is given.
// The CPU quota of stock makes the requests of front slow: kmend has to find it from
// an alert about front.
package chain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmend/kmend/test/process"
	"github.com/kmend/kmend/test/throttled"
)

// Names of the services, in the order of the calls.
func Names() []string { return []string{"front", "cart", "stock"} }

const (
	clients = 4
	pause   = 100 * time.Millisecond // of a client between two requests
	small   = 200 * time.Microsecond // CPU time of a request in front and in cart
	large   = 4 * time.Millisecond   // in stock
	quota   = 0.08                   // CPUs of stock, about half of what its clients want
)

// Service is one of the three.
type Service struct {
	Name string
	*throttled.Cgroup
	proc *process.Process
	addr string
}

// PID of the service's process.
func (s *Service) PID() int { return s.proc.PID() }

// Chain is running services and their clients.
type Chain struct {
	Services []*Service // in the order of Names
	stop     context.CancelFunc
	load     sync.WaitGroup
	served   atomic.Int64
	last     atomic.Int64 // ns that the last request took
}

// Start runs the services, with traces to otlp (HOST:PORT; "": none), and clients.
func Start(ctx context.Context, otlp string) (_ *Chain, err error) {
	c := &Chain{stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	next := ""
	c.Services = make([]*Service, len(Names()))
	for i := len(Names()) - 1; i >= 0; i-- { // the last first: who is asked is there
		if c.Services[i], err = start(ctx, Names()[i], next, otlp); err != nil {
			return nil, err
		}
		next = "http://" + c.Services[i].addr + "/"
	}
	loading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = cancel
	for range clients {
		c.load.Go(func() { c.ask(loading, next) })
	}
	return c, nil
}

func start(ctx context.Context, name, next, otlp string) (*Service, error) {
	group, err := throttled.NewCgroup(fmt.Sprintf("kmend-chain-%d-%s", os.Getpid(), name))
	if err != nil {
		return nil, err
	}
	s := &Service{Name: name, Cgroup: group}
	if err := s.run(ctx, next, otlp); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Service) run(ctx context.Context, next, otlp string) error {
	if err := s.First(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.Name, err)
	}
	if s.addr, err = process.FreeAddr(); err != nil {
		return err
	}
	work := small
	if next == "" {
		work = large
	}
	env := append(os.Environ(), envName+"="+s.Name, envListen+"="+s.addr, envNext+"="+next, envWork+"="+work.String(), envOTLP+"="+otlp)
	if s.proc, err = process.Start(process.Spec{Name: s.Name, Path: self, Env: env}); err != nil {
		return err
	}
	if err := s.Add(s.PID()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("no answer after 10 s"))
	defer cancel()
	return s.proc.WaitFor(ctx, func(ctx context.Context) error { return get(ctx, process.HTTPClient(), "http://"+s.addr+"/") })
}

// ask is one client.
func (c *Chain) ask(ctx context.Context, url string) {
	client := process.HTTPClient()
	for ctx.Err() == nil {
		began := time.Now()
		if get(ctx, client, url) == nil {
			c.last.Store(int64(time.Since(began)))
			c.served.Add(1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return nil
}

// Served waits until n more requests were answered, and says how long the last took.
func (c *Chain) Served(ctx context.Context, n int64) (last time.Duration, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for want := c.served.Load() + n; c.served.Load() < want; {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for %d requests: %w", n, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return time.Duration(c.last.Load()), nil
}

// Close ends the clients and the services, and removes their cgroups.
func (c *Chain) Close() (err error) {
	c.stop()
	c.load.Wait()
	for _, s := range c.Services {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

// Close ends the service and removes its cgroup.
func (s *Service) Close() error {
	if s.proc != nil {
		if err := s.proc.Kill(); err != nil {
			return err
		}
	}
	return s.Cgroup.Close()
}
