package incident

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
)

// ErrForbidden is what an error of a plan is, beside what it says, where kmend lacks a
// right that is somebody's to give, action by action.
var ErrForbidden = errors.New("kmend has no right to do it")

// Plan is a rendered runbook for one incident: what would be done, to what
// exactly. It is data; rendering it touched nothing. It has either Steps or,
// where no machine can help, a Report.
type Plan struct {
	Runbook  string    `json:"runbook"` // its metadata.name
	Cause    Cause     `json:"cause"`
	Target   Target    `json:"target"`
	Steps    []Step    `json:"steps"`
	Report   string    `json:"report,omitempty"` // for a person: what to look at, what to do
	Verify   Verify    `json:"verify"`
	Undo     UndoMode  `json:"undo"`
	Evidence []string  `json:"evidence"` // of the finding that the runbook matched
	Created  time.Time `json:"created"`
}

// Digest binds an approval to what was shown: the plan's steps with their
// previews, its target and its evidence. Created is left out.
func (p Plan) Digest() string {
	p.Created = time.Time{}
	b, err := json.Marshal(p)
	if err != nil {
		panic("incident: plan does not marshal: " + err.Error()) // maps and strings only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Irreversible reports whether any step cannot be undone.
func (p Plan) Irreversible() bool {
	for _, s := range p.Steps {
		if s.Irreversible {
			return true
		}
	}
	return false
}

// NeedsPerson says why a person has to approve the plan whatever the policies say,
// "" where they decide: nobody else would notice that it was wrong.
func (p Plan) NeedsPerson() string {
	switch {
	case p.Irreversible():
		return "a step of the plan cannot be undone"
	case p.Verify.Unmeasured != "":
		return "the effect of the plan is not measured"
	}
	return ""
}

// ReportOnly reports whether the plan changes nothing and tells a person what to do.
func (p Plan) ReportOnly() bool { return len(p.Steps) == 0 && p.Report != "" }

// Step is one action of a plan.
type Step struct {
	Name         string         `json:"name"`
	Action       string         `json:"action"` // e.g. kubernetes.resize_cpu
	With         map[string]any `json:"with,omitempty"`
	Irreversible bool           `json:"irreversible,omitempty"`
	// Preview is the answer of the action's dry run; nil until it was asked.
	Preview *Preview `json:"preview,omitempty"`
}

// Preview is what an action's dry run answered: what it would change, from what
// to what, and the facts that must still be true when it acts.
type Preview struct {
	Summary string `json:"summary"` // "raise CPU quota of cgroup /x from 0.3 to 0.6 CPU"
	Before  string `json:"before"`  // "0.3 CPU"
	After   string `json:"after"`   // "0.6 CPU"
	// Server says who answered: "kubernetes server-side dry run", "cgroup read".
	Server string `json:"server"`
	// Preconditions must hold when the step is applied: uid, resourceVersion, quota, ...
	Preconditions map[string]string `json:"preconditions"`
	// Apply is the action's own, rendered instruction for Apply and Undo: opaque to everyone else.
	Apply map[string]string `json:"apply"`
	// Adds is what the target's node would have to give in addition: "cpu" in CPUs, "memory" in bytes.
	Adds map[string]float64 `json:"adds,omitempty"`
	// Disrupts is how many pods the step takes away, where that is more than the target.
	Disrupts int `json:"disrupts,omitempty"`
	// Timeout is how long the step may take, set by actions that wait for long (a
	// drain, a rollout, a Job); 0: no longer than any step.
	Timeout Duration `json:"timeout,omitempty"`
	// Irreversible: what this step does cannot be undone, though other steps with
	// the same action can. The executor makes it the step's.
	Irreversible bool `json:"irreversible,omitempty"`
	// Once: the action can neither read whether it took effect nor be repeated
	// without harm. After a crash in this step a person has to look.
	Once bool `json:"once,omitempty"`
}

// Verify says how success is measured: the cause's share must fall.
type Verify struct {
	// Unmeasured says why it is not, and then the rest is zero: such a plan ends as applied.
	Unmeasured string `json:"unmeasured,omitempty"`

	Settle  Duration `json:"settle"`  // wait after the last step
	Window  Duration `json:"window"`  // measure this long
	Improve float64  `json:"improve"` // the share must fall by at least this fraction of itself, 0..1
}

// UndoMode says what happens when verification fails.
type UndoMode string

const (
	UndoAutomatic UndoMode = "automatic"
	UndoNever     UndoMode = "never"
)

// Effect is what a policy decides.
type Effect string

const (
	Allow           Effect = "allow"
	Deny            Effect = "deny"
	RequireApproval Effect = "require_approval"
)

// Decision is one answer of the guards about one plan. The zero Effect is not
// an answer: treat it as Deny.
type Decision struct {
	Effect Effect `json:"effect"`
	Policy string `json:"policy"` // metadata.name
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	// DryRun: allowed only to be shown. Set by the policy or globally.
	DryRun bool `json:"dryRun"`
	// Wait says for what there is no room now; it is asked again before acting.
	// Empty: there is.
	Wait string `json:"wait,omitempty"`
	// Answers are what every guard and every rule that matched said, in the order
	// in which they were asked.
	Answers []Answer `json:"answers,omitempty"`
	// Scope is what the plan counts against when limits are checked.
	Scope Scope `json:"scope,omitzero"`
	// Approval says who may answer require_approval; nil: any approver, one is enough.
	Approval *Approvers `json:"approval,omitempty"`
	// PagerDuty says what kmend may do to PagerDuty's incident; nil: write notes only.
	PagerDuty *PagerDutyUpdates `json:"pagerduty,omitempty"`
}

// PagerDutyUpdates are what may be done to the incident that PagerDuty has for the
// same alerts.
type PagerDutyUpdates struct {
	Acknowledge bool `json:"acknowledge,omitempty"` // when a plan is carried out
	Resolve     bool `json:"resolve,omitempty"`     // when the incident ends as fixed
}

// Answer is what one guard or rule said about a plan. The strictest one decides.
type Answer struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule"` // of the policy, or the guard: "cooldown"
	Effect Effect `json:"effect"`
	DryRun bool   `json:"dryRun,omitempty"`
	Reason string `json:"reason"`
}

// Scope is where a plan acts: its target and what that is part of. What is not
// known is empty.
type Scope struct {
	Target    string `json:"target,omitempty"` // Target.Key
	Owner     string `json:"owner,omitempty"`  // "shop/Deployment/web"
	Namespace string `json:"namespace,omitempty"`
	Node      string `json:"node,omitempty"`
	Zone      string `json:"zone,omitempty"` // topology.kubernetes.io/zone of the node
	Cluster   string `json:"cluster,omitempty"`
}

// Of is the part of the scope that limits are written for: target, owner,
// namespace, node, zone or cluster.
func (s Scope) Of(kind string) string {
	switch kind {
	case "target":
		return s.Target
	case "owner":
		return s.Owner
	case "namespace":
		return s.Namespace
	case "node":
		return s.Node
	case "zone":
		return s.Zone
	}
	return s.Cluster
}

// Execution is the account of one step that was applied.
type Execution struct {
	Step    int               `json:"step"` // index in Plan.Steps
	Action  string            `json:"action"`
	Before  string            `json:"before"`
	After   string            `json:"after"`
	Result  string            `json:"result"`          // "applied", "already applied", "undone"
	State   map[string]string `json:"state,omitempty"` // what Undo needs
	Started time.Time         `json:"started"`
	Ended   time.Time         `json:"ended"`
}

// Verification compares the cause before and after the plan.
type Verification struct {
	Cause  Cause   `json:"cause"`
	Before float64 `json:"before"` // share, 0..1
	After  float64 `json:"after"`
	// Improved: the share fell by the plan's margin. Better: and the cause is gone.
	Improved bool   `json:"improved"`
	Better   bool   `json:"better"`
	Reason   string `json:"reason"`
	// Diagnosis is the second measurement.
	Diagnosis Diagnosis `json:"diagnosis"`
}
