package policies

import "github.com/kmend/kmend/incident"

// Guards are limits that no rule can loosen. Each answers for itself, and the
// strictest of all answers decides.
type Guards struct {
	When        string             `json:"when,omitempty" jsonschema:"maxLength=8192" jsonschema_description:"A CEL expression: these guards are for the plans for which it is true. Without it for all. An expression that fails denies."`
	Autonomy    []Autonomy         `json:"autonomy,omitempty" jsonschema:"minItems=1,maxItems=200" jsonschema_description:"The first entry that matches says how far kmend may go; none: observe."`
	Evidence    []Evidence         `json:"evidence,omitempty" jsonschema:"minItems=1,maxItems=50" jsonschema_description:"What the measurement must show, by cause; the first entry that matches counts; none: denied."`
	BlastRadius []Radius           `json:"blastRadius,omitempty" jsonschema:"minItems=1,maxItems=20" jsonschema_description:"How much may be disrupted at once, whoever disrupts it."`
	Rates       []Rate             `json:"rates,omitempty" jsonschema:"minItems=1,maxItems=20" jsonschema_description:"How often kmend may act."`
	Cooldown    *incident.Duration `json:"cooldown,omitempty" jsonschema_description:"Deny when the same runbook acted on the same target less long ago: 1s to 168h."`
	Concurrent  int                `json:"concurrent,omitempty" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"At most so many plans are carried out at once; others wait."`
	Windows     *Windows           `json:"windows,omitempty" jsonschema_description:"When kmend may act by itself."`
	Freezes     []Freeze           `json:"freezes,omitempty" jsonschema:"minItems=1,maxItems=100" jsonschema_description:"When kmend may not act."`
	Ownership   *Ownership         `json:"ownership,omitempty" jsonschema_description:"What to do where something else sets the same thing."`
	Headroom    *Headroom          `json:"headroom,omitempty" jsonschema_description:"How much of the target's node must stay unrequested after a raise."`
	MinReady    *MinReady          `json:"minReady,omitempty" jsonschema_description:"How many other pods of the same workload must be ready."`
	Budgets     []ErrorBudget      `json:"errorBudgets,omitempty" jsonschema:"minItems=1,maxItems=20" jsonschema_description:"What to do where an error budget is nearly spent. Needs prometheus.url in kmend.yaml."`
	Breaker     *Breaker           `json:"breaker,omitempty" jsonschema_description:"Deny after too many actions that failed or had to be undone."`
}

// Level is how far kmend may go by itself.
type Level string

// The levels, from the least to the most.
const (
	Observe Level = "observe" // nothing is planned for
	Suggest Level = "suggest" // the plan is shown: a dry run
	Approve Level = "approve" // a person is asked
	Auto    Level = "auto"    // it is carried out
)

// Autonomy gives a level to the plans that it matches. A pattern may hold *.
type Autonomy struct {
	Runbook   string `json:"runbook,omitempty" jsonschema_description:"Name of the runbook; * stands for anything."`
	Namespace string `json:"namespace,omitempty" jsonschema_description:"Namespace of the target; * stands for anything."`
	Cause     string `json:"cause,omitempty" jsonschema_description:"Cause of the plan; * stands for anything."`
	Level     Level  `json:"level" jsonschema:"enum=observe,enum=suggest,enum=approve,enum=auto" jsonschema_description:"observe: denied. suggest: a dry run. approve: a person is asked. auto: allowed, as by a rule."`
}

// Evidence is the least that a measurement must show.
type Evidence struct {
	Cause    string             `json:"cause,omitempty" jsonschema_description:"Cause of the plan; * stands for anything."`
	MinShare float64            `json:"minShare,omitempty" jsonschema:"minimum=0,maximum=1" jsonschema_description:"Deny when the cause's share of the target's time is less."`
	MaxAge   *incident.Duration `json:"maxAge,omitempty" jsonschema_description:"Deny when the measurement is older: 1s to 24h."`
}

// Radius bounds what is disrupted at once in a part of the cluster: what is not
// ready there, what others have cordoned, the rollouts in flight, what kmend is
// at, and the plan itself.
type Radius struct {
	Per        string             `json:"per" jsonschema:"enum=owner,enum=namespace,enum=node,enum=zone,enum=cluster" jsonschema_description:"Pods are counted, or nodes where the target is a node."`
	Max        int                `json:"max,omitempty" jsonschema:"minimum=1,maximum=100000"`
	MaxPercent float64            `json:"maxPercent,omitempty" jsonschema:"exclusiveMinimum=0,maximum=100" jsonschema_description:"Of all that are there, rounded down."`
	In         *incident.Duration `json:"in,omitempty" jsonschema_description:"Targets that kmend acted on count for so long: 1s to 168h. Default: while it is at it."`
}

// Rate bounds how often kmend acts.
type Rate struct {
	Per string            `json:"per" jsonschema:"enum=target,enum=runbook,enum=owner,enum=namespace,enum=node,enum=zone,enum=cluster"`
	Max int               `json:"max" jsonschema:"minimum=1,maximum=100000"`
	In  incident.Duration `json:"in" jsonschema_description:"1s to 168h."`
}

// Windows are the times in which kmend may act.
type Windows struct {
	TimeZone string          `json:"timeZone,omitempty" jsonschema_description:"Such as Europe/Berlin. Default UTC."`
	Open     []Window        `json:"open" jsonschema:"minItems=1,maxItems=50"`
	Outside  incident.Effect `json:"outside,omitempty" jsonschema:"enum=deny,enum=require_approval,default=require_approval"`
}

// Window is a part of the day on some days of the week.
type Window struct {
	Days []string `json:"days,omitempty" jsonschema:"enum=mon,enum=tue,enum=wed,enum=thu,enum=fri,enum=sat,enum=sun" jsonschema_description:"Days on which it begins. Default every day."`
	From string   `json:"from,omitempty" jsonschema:"pattern=^([01][0-9]|2[0-3]):[0-5][0-9]$" jsonschema_description:"HH:MM. Default 00:00."`
	To   string   `json:"to,omitempty" jsonschema:"pattern=^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" jsonschema_description:"HH:MM, on the next day when it is not after from. Default 24:00."`
}

// Freeze is a time in which kmend does not act.
type Freeze struct {
	Name     string          `json:"name" jsonschema:"minLength=1,maxLength=100"`
	From     string          `json:"from" jsonschema_description:"YYYY-MM-DD or YYYY-MM-DDTHH:MM in timeZone."`
	To       string          `json:"to" jsonschema_description:"YYYY-MM-DD (that day is in it) or YYYY-MM-DDTHH:MM in timeZone."`
	TimeZone string          `json:"timeZone,omitempty" jsonschema_description:"Such as Europe/Berlin. Default UTC."`
	Decide   incident.Effect `json:"decide,omitempty" jsonschema:"enum=deny,enum=require_approval,default=deny"`
}

// Ownership says what to do where something else sets the same thing.
type Ownership struct {
	GitOps incident.Effect `json:"gitops,omitempty" jsonschema:"enum=allow,enum=require_approval,enum=deny,default=require_approval" jsonschema_description:"Argo CD, Flux, Helm and their like keep the workload as it is in a repository."`
	HPA    incident.Effect `json:"hpa,omitempty" jsonschema:"enum=allow,enum=require_approval,enum=deny,default=require_approval" jsonschema_description:"A HorizontalPodAutoscaler scales the workload."`
	VPA    incident.Effect `json:"vpa,omitempty" jsonschema:"enum=allow,enum=require_approval,enum=deny,default=deny" jsonschema_description:"A VerticalPodAutoscaler sets its resources."`
}

// Headroom is how much of a node must stay unrequested, in percent of what it can allocate.
type Headroom struct {
	CPUPercent    float64 `json:"cpuPercent,omitempty" jsonschema:"minimum=0,maximum=100"`
	MemoryPercent float64 `json:"memoryPercent,omitempty" jsonschema:"minimum=0,maximum=100"`
}

// MinReady is how many pods of the target's workload must be ready, without the
// target itself.
type MinReady struct {
	Replicas int     `json:"replicas,omitempty" jsonschema:"minimum=0,maximum=100000"`
	Percent  float64 `json:"percent,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"Of the pods that the workload wants, rounded up."`
}

// ErrorBudget is what is left of the errors that an objective allows. In the two
// queries $cluster, $namespace, $pod, $container and $node stand for the target's.
type ErrorBudget struct {
	Name        string          `json:"name" jsonschema:"minLength=1,maxLength=100"`
	Namespace   string          `json:"namespace,omitempty" jsonschema_description:"For targets in this namespace; * stands for anything."`
	Objective   float64         `json:"objective" jsonschema:"exclusiveMinimum=0,exclusiveMaximum=1" jsonschema_description:"Part of the requests that must succeed, such as 0.999."`
	Requests    string          `json:"requests" jsonschema:"minLength=1,maxLength=4096" jsonschema_description:"PromQL: the requests in the objective's period, one number."`
	Errors      string          `json:"errors" jsonschema:"minLength=1,maxLength=4096" jsonschema_description:"PromQL: those of them that failed, one number. Nothing at all counts as 0."`
	MinRequests float64         `json:"minRequests" jsonschema:"minimum=1" jsonschema_description:"With fewer the budget says nothing, and lowTraffic decides."`
	Below       float64         `json:"below" jsonschema:"minimum=0,maximum=1" jsonschema_description:"decide when less than this part of the budget is left."`
	Decide      incident.Effect `json:"decide,omitempty" jsonschema:"enum=deny,enum=require_approval,default=require_approval"`
	LowTraffic  incident.Effect `json:"lowTraffic,omitempty" jsonschema:"enum=allow,enum=require_approval,enum=deny,default=require_approval"`
}

// Breaker opens after failures and stays open until they are older than In.
type Breaker struct {
	Failures int               `json:"failures" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"Actions that failed, were undone or interrupted."`
	In       incident.Duration `json:"in" jsonschema_description:"1s to 168h."`
	Per      string            `json:"per,omitempty" jsonschema:"enum=runbook,enum=owner,enum=namespace,enum=node,enum=zone,enum=cluster,default=cluster"`
}
