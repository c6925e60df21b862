package scale

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

// report writes docs/scale.md.
func report(t *testing.T, path string, all []figures) {
	t.Helper()
	text, err := template.ParseFiles("testdata/scale.md.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		t.Fatal(err)
	}
	version, err := exec.CommandContext(t.Context(), kmend, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	var b strings.Builder
	err = text.Execute(&b, map[string]any{
		"Date":    time.Now().UTC().Format("2006-01-02 15:04 MST"),
		"Machine": fmt.Sprintf("%d CPUs (%s), %.0f GiB memory", runtime.NumCPU(), processor(), float64(si.Totalram)*float64(si.Unit)/(1<<30)),
		"Kernel":  unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]),
		"Version": strings.TrimSpace(string(version)), "Sizes": all, "Most": mostMemory, "MostPod": most[aPod], "MostMany": most[aDeployment],
		"Each": last.Kinds[aPod].each(), "Batch": last.size.each, "Storm": last.storm, "Record": last.RecordKB(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// What the template asks of the figures.

// Nodes and Pods are the cluster's.
func (f figures) Nodes() int { return f.nodes }

// Pods are those of Deployments.
func (f figures) Pods() int { return f.pods }

// StormCPU is the CPU time of one of many incidents, in ms.
func (f figures) StormCPU() string { return fmt.Sprintf("%.0f", 1000*f.Storm.CPU/float64(f.storm)) }

// FirstPlan is how long a responder takes that has just started.
func (f figures) FirstPlan() string { return seconds(f.First) }

// Left is what is left of an incident.
func (f figures) Left() string {
	if kb := f.PerIncident * 1024; kb >= 1 {
		return fmt.Sprintf("%.0f KB", kb)
	}
	return "nothing"
}

// Request and Limit are the memory to give a responder, in MiB: what it takes at rest,
// and twice what it took at most.
func (f figures) Request() int { return upTo(f.Idle.RSS, 32) }

// Limit is twice what it took at most.
func (f figures) Limit() int { return upTo(2*max(f.End.Peak, f.Counted.Peak), 128) }

// upTo is the next multiple of step.
func upTo(mib float64, step int) int { return (int(mib)/step + 1) * step }

// RecordKB is what one incident takes on the disk.
func (f figures) RecordKB() string { return fmt.Sprintf("%.0f KB", float64(f.Record)/1024) }

// Requests are those of one incident of a kind.
func (f figures) Requests(of string) string {
	return fmt.Sprintf("%.1f", f.Kinds[kind(of)].perIncident())
}

// Confirmed and Planned are medians, and the longest.
func (f figures) Confirmed(of string) string { return spread(f.Kinds[kind(of)].Resolved) }

// Planned is the time to the plan.
func (f figures) Planned(of string) string { return spread(f.Kinds[kind(of)].Plan) }

// PlannedStorm is the time to the plan when many come.
func (f figures) PlannedStorm() string { return spread(f.Storm.Plan) }

// OneCount is how many requests it takes to count nodes and pods, those of the agents
// among them.
func (f figures) OneCount() int { return (f.nodes+499)/500 + (f.pods+f.nodes+499)/500 }

// Decided is the time to the last answer where each incident has the cluster counted.
func (f figures) Decided() string { return seconds(f.Counting.Took) }

func spread(sorted []time.Duration) string {
	return fmt.Sprintf("%s, at most %s", seconds(sorted[len(sorted)/2]), seconds(sorted[len(sorted)-1]))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// each is what one incident asks, where most ask the same.
func (c cost) each() string {
	r := requests{}
	for what, times := range c.Requests {
		r[what] = (times + c.Incidents/2) / c.Incidents
	}
	return r.String()
}
