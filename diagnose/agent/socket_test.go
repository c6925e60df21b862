package agent

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"github.com/kmend/kmend/incident"
)

// remembered is a recorder with one quiet window.
type remembered struct{}

func (remembered) Window(from, to time.Time, _ func(uint64, string) bool) (recorder.Window, error) {
	return recorder.Window{From: from, To: to}, nil
}
func (remembered) Kept() (from, to time.Time, ok bool) { return }

// serveSocket serves until the test or stop ends it.
func serveSocket(t *testing.T, a *Agent, path string) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ServeSocket(ctx, a, path, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(cancel)
	for {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			break
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return func() error { cancel(); return <-done }
}

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmend", "agent.sock")
	a := newAgent(t, func(o *Options) {
		o.open = func(*meter) (prober, error) { return fakeProbe{}, nil }
		o.Recorder = remembered{}
	})
	// What a killed agent left behind does not matter.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()

	stop := serveSocket(t, a, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	o := DefaultClientOptions()
	o.URL = "unix://" + path
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if can, err := c.Capabilities(t.Context()); err != nil || can.APIVersion != APIVersion {
		t.Errorf("%+v, %v", can, err)
	}
	since := time.Now().Add(-time.Minute).Truncate(time.Second).UTC()
	m, err := c.Measure(t.Context(), Request{Target: incident.Target{Cgroup: cpuDir(t) + "/never"}, Since: since, Until: since.Add(10 * time.Second)}, nil)
	if err != nil || !m.Window.Recorded || !m.Window.Start.Equal(since) || m.Window.Seconds != 10 {
		t.Errorf("%+v, %v", m.Window, err)
	}
	// Another agent's socket is left alone.
	if err := ServeSocket(t.Context(), a, path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another agent answers") {
		t.Errorf("a second agent: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ServeSocket(t.Context(), a, path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in its place: %v", err)
	}
}

// cpuDir is where the cpu hierarchy is mounted.
func cpuDir(t *testing.T) string {
	t.Helper()
	node, err := cgroups.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	cpu, ok := node.CPU()
	if !ok {
		t.Skip("no cpu hierarchy; runs where one is mounted")
	}
	return cpu.Dir
}
