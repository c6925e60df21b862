package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
)

// Test is one document of a test file: cases that the policies it names are
// asked about.
type Test struct {
	APIVersion string   `json:"apiVersion" jsonschema:"enum=kmend.dev/v1"`
	Kind       string   `json:"kind" jsonschema:"enum=PolicyTest"`
	Policies   []string `json:"policies" jsonschema:"minItems=1,maxItems=50" jsonschema_description:"Files or directories, from this file's directory."`
	Cases      []Case   `json:"cases" jsonschema:"minItems=1,maxItems=1000"`
}

// Case is one question and the answer that is wanted. Incident, Plan and Facts
// are laid over those of a case that nothing but a policy can stop: cpu.throttled,
// a share of 43%, confirmed a second before Now on pod shop/web-1, and a plan of
// one kubernetes.resize_cpu.
type Case struct {
	Name     string         `json:"name" jsonschema:"minLength=1,maxLength=200"`
	Now      string         `json:"now,omitempty" jsonschema_description:"RFC 3339; default 2026-11-21T03:12:12Z."`
	Incident map[string]any `json:"incident,omitempty"`
	Plan     map[string]any `json:"plan,omitempty"`
	Facts    map[string]any `json:"facts,omitempty" jsonschema_description:"paused, scope, history, cluster, budgets, missing."`
	Want     Want           `json:"want"`
}

// Want is what the decision must be; what is left out may be anything.
type Want struct {
	Effect incident.Effect `json:"effect" jsonschema:"enum=allow,enum=deny,enum=require_approval"`
	DryRun *bool           `json:"dryRun,omitempty"`
	Policy string          `json:"policy,omitempty"`
	Rule   string          `json:"rule,omitempty" jsonschema_description:"The rule that decides, or the guard."`
	Reason string          `json:"reason,omitempty" jsonschema_description:"A part of the reason."`
	Wait   string          `json:"wait,omitempty" jsonschema_description:"A part of what is waited for."`
}

// Result is how one case went.
type Result struct {
	File     string            `json:"file"`
	Case     string            `json:"case"`
	OK       bool              `json:"ok"`
	Problem  string            `json:"problem,omitempty"` // what is not as wanted
	Decision incident.Decision `json:"decision"`
}

// RunTests asks the policies about every case in paths, which are as Load's. The
// error is document.Errors where a file is wrong, be it of cases or of policies.
func RunTests(paths []string) (results []Result, err error) {
	schema, err := document.SchemaOf(Test{})
	if err != nil {
		return nil, err
	}
	err = document.Each(paths, func(doc *document.Document) document.Errors {
		if errs := schema.Check(doc.Root, ""); len(errs) > 0 {
			return errs
		}
		var t Test
		if err := doc.Decode(&t); err != nil {
			var at *document.Error
			errors.As(err, &at)
			return document.Errors{at}
		}
		found, errs := t.run(doc)
		results = append(results, found...)
		return errs
	})
	return results, err
}

func (t Test) run(doc *document.Document) (results []Result, errs document.Errors) {
	files := make([]string, len(t.Policies))
	for i, p := range t.Policies {
		if files[i] = p; !filepath.IsAbs(p) {
			files[i] = filepath.Join(filepath.Dir(doc.File), p)
		}
	}
	set, err := Load(files)
	if err != nil {
		if errors.As(err, &errs) {
			return nil, errs
		}
		at, _ := doc.Root.At("policies")
		return nil, document.Errors{at.Errorf("policies: %v", err)}
	}
	for i, c := range t.Cases {
		at, _ := doc.Root.At("cases", strconv.Itoa(i))
		d, err := c.decide(set)
		if err != nil {
			errs = append(errs, at.Errorf("cases[%d] (%s): %v", i, c.Name, err))
			continue
		}
		problem := c.Want.differs(d)
		results = append(results, Result{File: doc.File, Case: c.Name, OK: problem == "", Problem: problem, Decision: d})
	}
	return results, errs
}

// decide asks the policies as if dryRun were false in kmend.yaml.
func (c Case) decide(set *Set) (incident.Decision, error) {
	now := time.Date(2026, 11, 21, 3, 12, 12, 0, time.UTC)
	if c.Now != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, c.Now); err != nil {
			return incident.Decision{}, fmt.Errorf("now is %q; want a time such as 2026-11-21T03:12:12Z", c.Now)
		}
	}
	inc, plan := example(now)
	facts := Facts{Scope: incident.Scope{Target: plan.Target.Key(), Namespace: plan.Target.Namespace}}
	for _, part := range []struct {
		name string
		over map[string]any
		to   any
	}{{"incident", c.Incident, &inc}, {"plan", c.Plan, &plan}, {"facts", c.Facts, &facts}} {
		if err := lay(part.over, part.to); err != nil {
			return incident.Decision{}, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return set.WithDryRun(false).WithClock(func() time.Time { return now }).Decide(inc, plan, facts), nil
}

// lay decodes over on top of what to holds.
func lay(over map[string]any, to any) error {
	if over == nil {
		return nil
	}
	text, err := json.Marshal(over)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(to)
}

// example is an incident whose plan nothing but a policy can stop.
func example(now time.Time) (incident.Incident, incident.Plan) {
	target := incident.Target{Namespace: "shop", Pod: "web-1"}
	d := incident.Diagnosis{
		Target: target, Verdict: incident.Confirmed,
		Window:   incident.Window{Start: now.Add(-4 * time.Second), Seconds: 3},
		Findings: []incident.Finding{{Cause: incident.CPUThrottled, Verdict: incident.Confirmed, Share: 0.43, Message: "CPU throttled", Evidence: []string{"e1"}}},
	}
	inc := incident.Incident{ID: "i1", Target: target, Diagnosis: &d, Alerts: []incident.Alert{{Labels: map[string]string{"severity": "critical"}}}}
	plan := incident.Plan{
		Runbook: "raise", Cause: incident.CPUThrottled, Target: target, Evidence: []string{"e1"}, Undo: incident.UndoAutomatic,
		Steps: []incident.Step{{Name: "raise", Action: "kubernetes.resize_cpu", With: map[string]any{"factor": 2.0}}},
	}
	return inc, plan
}

// differs says what of d is not as wanted, "" when all is.
func (w Want) differs(d incident.Decision) string {
	var problems []string
	not := func(what, want, got string) {
		problems = append(problems, fmt.Sprintf("%s is %q, want %q", what, got, want))
	}
	if d.Effect != w.Effect {
		not("effect", string(w.Effect), string(d.Effect))
	}
	if w.DryRun != nil && d.DryRun != *w.DryRun {
		not("dryRun", strconv.FormatBool(*w.DryRun), strconv.FormatBool(d.DryRun))
	}
	if w.Policy != "" && d.Policy != w.Policy {
		not("policy", w.Policy, d.Policy)
	}
	if w.Rule != "" && d.Rule != w.Rule {
		not("rule", w.Rule, d.Rule)
	}
	if !strings.Contains(d.Reason, w.Reason) {
		not("reason", "…"+w.Reason+"…", d.Reason)
	}
	if !strings.Contains(d.Wait, w.Wait) {
		not("wait", "…"+w.Wait+"…", d.Wait)
	}
	if len(problems) > 0 && d.Effect != w.Effect {
		problems = append(problems, fmt.Sprintf("decided by %s/%s: %s", d.Policy, d.Rule, d.Reason))
	}
	return strings.Join(problems, "; ")
}
