package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/agent"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func command(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, log buffer
	status = run(ctx, args, &output{&out, &log})
	return status, out.String(), log.String()
}

func TestUsage(t *testing.T) {
	for args, text := range map[string]string{
		"":                                       "expected one of",
		"serve":                                  "--token-file are needed",
		"serve --insecure-loopback --tls-cert x": "choose one",
		"serve --tls-cert x --tls-key x --token-review --token-file x": "choose one",
		"serve --max-window never":                                     "--max-window",
		"capabilities -o yaml":                                         "must be one of",
		"nonsense":                                                     "unexpected argument",
	} {
		status, _, stderr := command(t.Context(), strings.Fields(args)...)
		if status != exitUsage || !strings.Contains(stderr, text) {
			t.Errorf("%q: %d %s, want %d with %q", args, status, stderr, exitUsage, text)
		}
	}
	for args, text := range map[string]string{
		"serve --tls-cert x --tls-key x --token-review --api-host= ":                                        "run the agent as a pod",
		"serve --insecure-loopback --token-review --api-host=h --api-port=1 --caller=kmend":                 "write NAMESPACE/NAME",
		"serve --insecure-loopback --token-review --api-host=h --api-port=1 --api-credentials=/nonexistent": "/nonexistent",
		"serve --insecure-loopback":                                                      "only a loopback address",
		"serve --insecure-loopback --listen 127.0.0.1:0 --max-at-once 0":                 "MaxAtOnce is 0",
		"serve --tls-cert /nonexistent --tls-key /nonexistent --token-file /nonexistent": "/nonexistent",
	} {
		status, _, stderr := command(t.Context(), strings.Fields(args)...)
		if status != exitError || !strings.Contains(stderr, text) {
			t.Errorf("%q: %d %s, want %d with %q", args, status, stderr, exitError, text)
		}
	}
}

func TestCapabilitiesAndVersion(t *testing.T) {
	status, stdout, stderr := command(t.Context(), "capabilities", "-o", "json")
	var can agent.Capabilities
	if err := json.Unmarshal([]byte(stdout), &can); status != exitOK || err != nil || can.APIVersion != agent.APIVersion || can.Node.CPUs < 1 || len(can.Probes) == 0 {
		t.Errorf("%d %v %s %s", status, err, stdout, stderr)
	}
	status, stdout, _ = command(t.Context(), "capabilities")
	if status != exitOK || !strings.Contains(stdout, "probe threads: ") || !strings.Contains(stdout, "cgroup "+can.CgroupMode) {
		t.Errorf("%d %s", status, stdout)
	}
	status, stdout, _ = command(t.Context(), "version")
	if status != exitOK || !strings.HasPrefix(stdout, "kmend-agent ") {
		t.Errorf("%d %s", status, stdout)
	}
}

func TestServe(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve", "--insecure-loopback", "--listen", "127.0.0.1:0", "--node-name", "n1"}, &output{&log, &log})
	}()
	var address string
	for end := time.Now().Add(30 * time.Second); address == ""; time.Sleep(10 * time.Millisecond) {
		if _, rest, ok := strings.Cut(log.String(), "address="); ok {
			address, _, _ = strings.Cut(rest, " ")
		}
		if time.Now().After(end) {
			t.Fatalf("it does not listen: %s", log.String())
		}
	}
	o := agent.DefaultClientOptions()
	o.URL = "http://" + address
	c, err := agent.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	can, err := c.Capabilities(t.Context())
	if err != nil || can.Node.Name != "n1" {
		t.Errorf("%+v, %v", can, err)
	}
	c.Close()
	stop()
	if status := <-done; status != exitOK {
		t.Errorf("status %d: %s", status, log.String())
	}
}

// The daemon is privileged and on every node: it stays small.
func TestLinksLittle(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		for _, big := range []string{"k8s.io/client-go", "k8s.io/api/", "modernc.org/", "dbos", "cel.dev/", "kmend/remediate", "kmend/internal/app", "kmend/internal/respond", "kmend/internal/store", "kmend/runbooks", "kmend/policies"} {
			if strings.Contains(dep, big) {
				t.Errorf("kmend-agent links %s", strings.TrimSpace(dep))
			}
		}
	}
}
