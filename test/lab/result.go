package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// result is one case as it ended, in the JSON of the lab.
type result struct {
	Name       string             `json:"name"`
	Expected   string             `json:"expected"`
	Or         []string           `json:"or,omitempty"`
	With       []string           `json:"with,omitempty"`
	Found      string             `json:"found"` // the first cause, or the verdict without one
	Verdict    string             `json:"verdict"`
	Wrong      string             `json:"wrong,omitempty"` // empty: right
	Skipped    string             `json:"skipped,omitempty"`
	Findings   []finding          `json:"findings"`
	States     map[string]float64 `json:"states_ms"`
	Threads    int                `json:"threads"`
	LedgerOff  float64            `json:"ledger_off"` // |states - lifetime| / lifetime
	Seconds    float64            `json:"seconds"`    // kmend's own time, the window included
	AgentCPUMS float64            `json:"agent_cpu_ms"`
	Proof      []proof            `json:"proof"`
	Troubles   []probe            `json:"probes_not_ok,omitempty"`
	Attempts   []attempt          `json:"attempts"` // all of them; the last one counts
}

// proof is what a witness said.
type proof struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Least float64 `json:"least"`
}

// attempt is one time that a case was measured.
type attempt struct {
	Found     string  `json:"found"`
	Wrong     string  `json:"wrong,omitempty"`
	Strangers float64 `json:"strangers_cpus"`  // held by groups outside the lab
	Stolen    float64 `json:"stolen"`          // part of the machine's CPU time that the hypervisor took
	Waited    float64 `json:"waited_s"`        // before it, for a quiet machine
	Again     string  `json:"again,omitempty"` // why it was done once more
	unmade    bool    // by a witness there was no fault
}

// account is the whole of a run.
type account struct {
	Date    string   `json:"date"`
	Kernel  string   `json:"kernel"`
	Cgroup  string   `json:"cgroup"`
	CPUs    int      `json:"cpus"`
	Machine string   `json:"machine"`
	Kmend   string   `json:"kmend"`
	Totals  totals   `json:"totals"`
	Failed  []string `json:"failed"`
	Cases   []result `json:"cases"`
}

// accountFile is its name in the folder of -keep.
const accountFile = "cases.json"

func (a account) keep(folder string) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, accountFile), b, 0o644)
}

// made reports whether every witness saw the fault, and kmend was asked.
func (r result) made() bool {
	return r.Skipped == "" && r.Verdict != "error" && !slices.ContainsFunc(r.Proof, func(p proof) bool { return p.Value < p.Least })
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// machine is the CPU's name and the memory.
func machine() string {
	name := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				name = strings.TrimSpace(v)
				break
			}
		}
	}
	kb, err := memTotalKB()
	if err != nil {
		return name
	}
	return fmt.Sprintf("%s, %.0f GB", name, kb/1e6)
}

// cpuTimes is the machine's CPU time by kind, in the order of /proc/stat: user,
// nice, system, idle, iowait, irq, softirq, steal.
func cpuTimes() []float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	out := make([]float64, 0, 8)
	for _, s := range f[1:min(9, len(f))] { // guest time, after these, is in user
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil
		}
		out = append(out, v)
	}
	return out
}

// jiffies is the machine's CPU time, all of it and what the hypervisor took.
func jiffies() (all, stolen float64) {
	for i, v := range cpuTimes() {
		all += v
		if i == 7 {
			stolen = v
		}
	}
	return all, stolen
}

func memTotalKB() (float64, error) {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return 0, err
	}
	return float64(s.Totalram) * float64(s.Unit) / 1024, nil
}
