// Package policies is the guard of the flow: between a plan and its execution
// it decides allow, deny or require_approval, from YAML rules with CEL
// conditions. It fails closed: what is missing, unmatched or broken is a denial
// with the reason, and out of the box every plan is a dry run.
//
// docs/policies.md describes the format; default.yaml ships with kmend.
package policies

import "github.com/kmend/kmend/incident"

// Policy is one document of a policy file.
type Policy struct {
	APIVersion string   `json:"apiVersion" jsonschema:"enum=kmend.dev/v1"`
	Kind       string   `json:"kind" jsonschema:"enum=Policy"`
	Metadata   Metadata `json:"metadata"`
	// DryRun is true when the file does not say.
	DryRun *bool `json:"dryRun,omitempty" jsonschema:"default=true" jsonschema_description:"Plans that a rule of this policy matches are shown and not carried out. Default true."`
	// MaxAge is DefaultMaxAge when the file does not say.
	MaxAge   *incident.Duration `json:"maxEvidenceAge,omitempty" jsonschema_description:"Deny when the measurement is older than this: 1s to 24h. Of several policies the shortest counts. Default 30m."`
	Rules    []Rule             `json:"rules,omitempty" jsonschema:"minItems=1,maxItems=200" jsonschema_description:"All rules of all policies are asked; deny wins over require_approval, which wins over allow."`
	Guards   *Guards            `json:"guards,omitempty" jsonschema_description:"Limits that no rule can loosen."`
	Approval *Approval          `json:"approval,omitempty" jsonschema_description:"Who may answer where a rule asks for approval. Without it every approver of kmend.yaml, and one is enough."`

	PagerDuty *PagerDuty `json:"pagerduty,omitempty" jsonschema_description:"What kmend may do to PagerDuty's incident of the same alerts where a rule of this policy, or its autonomy, lets a plan be carried out. Without it: write notes."`
}

// PagerDuty says what may be done to PagerDuty's incident.
type PagerDuty struct {
	Acknowledge bool `json:"acknowledge,omitempty" jsonschema_description:"Acknowledge it when a plan is carried out."`
	Resolve     bool `json:"resolve,omitempty" jsonschema_description:"Resolve it when the fault is measured to be gone."`
}

// Metadata names a document.
type Metadata struct {
	Name        string `json:"name" jsonschema:"pattern=^[a-z0-9]([a-z0-9-]*[a-z0-9])?$,maxLength=100" jsonschema_description:"Unique among the policies that are loaded: lower-case letters, digits and dashes."`
	Description string `json:"description,omitempty" jsonschema:"maxLength=1000"`
}

// Rule decides about the plans that its condition matches.
type Rule struct {
	Name   string          `json:"name" jsonschema:"minLength=1,maxLength=100" jsonschema_description:"Unique within the policy."`
	When   string          `json:"when,omitempty" jsonschema:"maxLength=8192" jsonschema_description:"A CEL expression over incident, alert, alerts, target, finding, diagnosis, plan and now. Without it the rule always matches. An expression that fails denies."`
	Decide incident.Effect `json:"decide" jsonschema:"enum=allow,enum=deny,enum=require_approval"`
	Reason string          `json:"reason" jsonschema:"minLength=1,maxLength=500" jsonschema_description:"For the person who reads the decision."`
}
