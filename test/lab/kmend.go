package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/test/process"
)

// diagnosis is what the lab reads of `kmend diagnose -o json`: the contract of
// docs/diagnosis.md, written down here a second time on purpose.
type diagnosis struct {
	Verdict  string    `json:"verdict"`
	Findings []finding `json:"findings"`
	Evidence []struct {
		Metric  string  `json:"metric"`
		Subject string  `json:"subject"`
		Value   float64 `json:"value"`
	} `json:"evidence"`
	Ledger struct {
		Threads int                `json:"threads"`
		WallMS  float64            `json:"wall_ms"`
		States  map[string]float64 `json:"states"`
	} `json:"ledger"`
	Probes []probe `json:"probes"`
	Cost   struct {
		CPUMS  float64 `json:"cpu_ms"`
		WallMS float64 `json:"wall_ms"`
	} `json:"cost"`
}

type finding struct {
	Cause   string  `json:"cause,omitempty"`
	Verdict string  `json:"verdict"`
	Share   float64 `json:"share"`
	Message string  `json:"message"`
}

type probe struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	Lost   uint64 `json:"lost"`
}

// diagnose asks kmend about a fault, and returns its answer as printed.
func (b *bed) diagnose(ctx context.Context, tool *group, f fault, window time.Duration) (d diagnosis, raw []byte, err error) {
	args := []string{b.tools.kmend, "diagnose", "-o", "json"}
	if f.pid != 0 {
		args = append(args, "--pid", strconv.Itoa(f.pid))
	} else {
		args = append(args, "--cgroup", f.target.dir("cpu"))
	}
	if window != 0 {
		args = append(args, "--window", window.String())
	}
	if b.tools.socket != "" {
		args = append(args, "--agent", b.tools.socket)
	}
	spec, err := json.Marshal(place{Cgroups: tool.dirs()})
	if err != nil {
		return d, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args = args
	cmd.Env = append(os.Environ(), placeEnv+"="+string(spec))
	raw, err = cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return d, nil, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, raw, fmt.Errorf("reading kmend's answer: %w", err)
	}
	return d, raw, nil
}

// serve starts a kmend-agent until the bed is closed, and returns its socket.
func (b *bed) serve(path string) (socket string, err error) {
	defer func() {
		if r, ok := recover().(stopped); ok {
			err = fmt.Errorf("starting %s: %w", path, r.err)
		}
	}()
	path, err = filepath.Abs(path)
	b.check(err)
	listen, err := process.FreeAddr()
	b.check(err)
	socket = filepath.Join(b.dir, "agent.sock")
	agent := b.group("agent").weight(10) // whoever measures must not starve
	agent.start(spawn{}, path, "serve", "--socket", socket, "--listen", listen, "--insecure-loopback", "--no-recorder", "--patience", "2s",
		"--cpu-budget", cmp.Or(os.Getenv("KMEND_CPU_BUDGET"), "2s"))
	b.until("the agent to load its probes", 2*time.Minute, func() bool { // it listens when its probes are loaded
		c, err := new(net.Dialer).DialContext(b.ctx, "tcp", listen)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return socket, nil
}

// off is how far the ledger's states are from the threads' lifetime, as a part
// of it. Less than a millisecond is nothing: it is the clock's.
func (d diagnosis) off() float64 {
	sum := 0.0
	for _, v := range d.Ledger.States {
		sum += v
	}
	diff := math.Abs(sum - d.Ledger.WallMS)
	if diff <= 1 {
		return 0
	}
	return diff / max(d.Ledger.WallMS, 1)
}

// strangers is how many CPUs groups held that are not of the lab.
func (d diagnosis) strangers(root string) float64 {
	total := 0.0
	for _, e := range d.Evidence {
		switch {
		case e.Metric == "cpu_others":
			total += e.Value
		case e.Metric == "cpu_holder" && strings.HasPrefix(e.Subject, "/"+root+"/"):
			total -= e.Value
		}
	}
	return max(0, total)
}
