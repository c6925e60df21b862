package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/report"
	"github.com/kmend/kmend/test/process"
)

// closedIncident is one about a cgroup, measured until a time and closed then; ran
// says that its plan was carried out.
func closedIncident(t *testing.T, s *store.Store, until time.Time, ran bool) (id string) {
	t.Helper()
	target := incident.Target{Cgroup: "/sys/fs/cgroup/cpu/kmend-simulated"}
	got, err := s.Ingest(t.Context(), []store.Seed{{DedupKey: until.String(), Target: target, Source: "alertmanager/test",
		Alerts: []incident.Alert{{Fingerprint: until.String(), Status: incident.Firing, StartsAt: until, Labels: map[string]string{"alertname": "Slow"}}}}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	id = got[0].ID
	d := incident.Diagnosis{Target: target, Window: incident.Window{Start: until.Add(-3 * time.Second), Seconds: 3}, Verdict: incident.Confirmed,
		Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Share: 0.4}}}
	changes := []store.Change{{To: incident.Diagnosing}, {Diagnosis: &d}, {To: incident.Planned, Plan: &incident.Plan{Runbook: "raise-cpu-limit-cgroup"}}}
	if ran {
		changes = append(changes, store.Change{To: incident.Executing})
	}
	changes = append(changes, store.Change{To: incident.Escalated, Outcome: incident.Failed, Reason: "it is a test"})
	for i, c := range changes {
		key := string(c.To)
		if c.To == incident.Executing {
			key = "intent/0"
		}
		c.Event = incident.Event{At: until.Add(time.Duration(i) * time.Second), Kind: "test", Message: key}
		if _, err := s.Record(t.Context(), id, key, c); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// An incident of a server is judged by what that server did until then and by whether
// it is paused; a file of the same incident knows neither, and that is said.
func TestSimulateAsksTheServer(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), filepath.Join(dir, "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	before := closedIncident(t, s, now.Add(-3*time.Hour), false)
	closedIncident(t, s, now.Add(-2*time.Hour), true)
	after := closedIncident(t, s, now.Add(-2*time.Hour).Add(10*time.Minute), false)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	addr, err := process.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"read.token": "read\n", "ada.token": "ada!\n",
		"kmend.yaml": "apiVersion: kmend.dev/v1\nkind: Config\ndryRun: false\npolicies: [policy.yaml]\nlisten: " + addr + "\ndataDir: " + dir +
			"\napi: {tokenFile: read.token}\napprovers: [{name: ada, tokenFile: ada.token}]\n",
		"policy.yaml": "apiVersion: kmend.dev/v1\nkind: Policy\nmetadata: {name: trust}\ndryRun: false\nrules: [{name: all, decide: allow, reason: it is a test}]\nguards: {cooldown: 30m}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var log bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", filepath.Join(dir, "kmend.yaml")}, &output{Stdout: &log, Stderr: &log})
	}()
	defer func() { stop(); <-ended }()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/healthz")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(until) || len(ended) > 0 {
			stop()
			ended <- <-ended
			t.Fatalf("the server does not answer: %v\n%s", err, &log)
		}
	}
	asks := func(token string, args ...string) (string, report.Simulation) {
		t.Helper()
		args = append(args, "--server", "http://"+addr, "--token-file", filepath.Join(dir, token), "-o", "json")
		status, stdout, stderr := kmend(t, args...)
		var s report.Simulation
		if err := json.Unmarshal([]byte(stdout), &s); status != exitOK || err != nil {
			t.Fatalf("%q: status %d, %v: %s%s", args, status, err, stdout, stderr)
		}
		return stdout, s
	}
	simulate := func(id string) report.Simulation {
		t.Helper()
		_, s := asks("read.token", "runbook", "simulate", "raise-cpu-limit-cgroup", "--incident", id, "--config", filepath.Join(dir, "kmend.yaml"))
		if s.Decision == nil {
			t.Fatalf("no decision: %+v", s)
		}
		return s
	}
	if s := simulate(before); s.Decision.Effect != incident.Allow || s.FromZero {
		t.Errorf("before anything was done: %+v, from zero %v", s.Decision, s.FromZero)
	}
	if s := simulate(after); s.Decision.Effect != incident.Deny || s.Decision.Rule != "cooldown" || !strings.Contains(s.Decision.Reason, "30m0s must pass") {
		t.Errorf("after it was done: %+v", s.Decision)
	}
	shown, _ := asks("read.token", "incidents", "show", after)
	file := filepath.Join(dir, "after.json")
	if err := os.WriteFile(file, []byte(shown), 0o600); err != nil {
		t.Fatal(err)
	}
	asks("ada.token", "pause", "--reason", "looking into it")
	if s := simulate(before); s.Decision.Effect != incident.Deny || s.Decision.Rule != "pause" || !strings.Contains(s.Decision.Reason, "looking into it") {
		t.Errorf("while it is paused: %+v", s.Decision)
	}
	if s := simulate(file); s.Decision.Effect != incident.Allow || !s.FromZero {
		t.Errorf("of a file: %+v, from zero %v", s.Decision, s.FromZero)
	}
	_, text, _ := kmend(t, "runbook", "simulate", "raise-cpu-limit-cgroup", "--incident", file, "--config", filepath.Join(dir, "kmend.yaml"))
	if !strings.Contains(strings.Join(strings.Fields(text), " "), "counted from zero, and no pause: a file knows neither") {
		t.Errorf("it is not said that a file is counted from zero:\n%s", text)
	}
}
