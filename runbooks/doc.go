// Package runbooks is the fourth stage of the flow: a confirmed root cause and
// the YAML runbook for it become a plan, which is data. It loads and checks the
// runbooks, chooses one by its match, and renders its steps. It touches nothing:
// package remediate asks the actions for their dry run and carries the plan out.
//
// docs/runbooks.md describes the format; *.yaml beside this file ship with kmend.
package runbooks

import (
	"github.com/kmend/kmend/incident"
)

// ActionSpec is what the rest of kmend knows about an action: the name that
// runbooks write, and Params, a pointer to the struct of what `with` takes.
type ActionSpec struct {
	Name         string
	Params       any
	Irreversible bool
}

// Runbook is one document of a runbook file. It has either Steps or a Report.
type Runbook struct {
	APIVersion string   `json:"apiVersion" jsonschema:"enum=kmend.dev/v1"`
	Kind       string   `json:"kind" jsonschema:"enum=Runbook"`
	Metadata   Metadata `json:"metadata"`
	Assumes    string   `json:"assumes,omitempty" jsonschema:"maxLength=2000" jsonschema_description:"What must be true for this runbook to be right, for the people who read and approve its plan."`
	Priority   int      `json:"priority,omitempty" jsonschema:"minimum=-1000,maximum=1000" jsonschema_description:"Of several runbooks that match, the highest priority is taken; of equal ones, the first loaded. Default 0."`
	Match      Match    `json:"match"`
	Steps      []Step   `json:"steps,omitempty" jsonschema:"minItems=1,maxItems=20" jsonschema_description:"Carried out in this order, undone in the opposite one."`
	Report     string   `json:"report,omitempty" jsonschema:"minLength=1,maxLength=4000" jsonschema_description:"In place of steps, where no machine can help: what a person has to look at and do. It may hold ${CEL} expressions over the variables of match.when."`
	Verify     Verify   `json:"verify,omitzero" jsonschema_description:"How success is measured: by the probe that found the cause, once more."`
	// Undo says what happens when verification fails.
	Undo incident.UndoMode `json:"undo,omitempty" jsonschema:"enum=automatic,enum=never,default=automatic" jsonschema_description:"What happens when the verification fails. Default automatic."`
}

// Metadata names a document.
type Metadata struct {
	Name        string `json:"name" jsonschema:"pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=100" jsonschema_description:"Unique among the runbooks that are loaded: lower-case letters, digits and dashes."`
	Description string `json:"description,omitempty" jsonschema:"maxLength=1000"`
}

// Match says which diagnosis a runbook is for.
type Match struct {
	Cause incident.Cause `json:"cause" jsonschema_description:"The root cause: the first finding of a confirmed diagnosis."`
	When  string         `json:"when,omitempty" jsonschema:"maxLength=8192" jsonschema_description:"A CEL expression over finding, target, alert, alerts, diagnosis and incident. Without it the cause is enough."`
}

// Step is one action of a runbook.
type Step struct {
	Name   string         `json:"name" jsonschema:"minLength=1,maxLength=100" jsonschema_description:"Unique within the runbook."`
	Action string         `json:"action" jsonschema_description:"What is done."`
	With   map[string]any `json:"with,omitempty" jsonschema_description:"The action's parameters. A text may hold ${CEL} expressions over the variables of match.when."`
}

// Verify says how success is measured. A field that is left out has the default.
type Verify struct {
	Unmeasured string `json:"unmeasured,omitempty" jsonschema:"minLength=1,maxLength=300" jsonschema_description:"In place of the others: why the effect cannot be measured. Such a plan always needs an approval and ends as applied."`

	Settle  *incident.Duration `json:"settle,omitempty" jsonschema_description:"Wait after the last step: 0s to 10m. Default 1s."`
	Window  *incident.Duration `json:"window,omitempty" jsonschema_description:"Measure for this long: 1s to 60s. Default 3s."`
	Improve *float64           `json:"improve,omitempty" jsonschema:"exclusiveMinimum=0,maximum=1" jsonschema_description:"The cause's share must fall by at least this fraction of itself. Default 0.5."`
}
