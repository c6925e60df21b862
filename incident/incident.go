package incident

import "time"

// Incident is one problem of one target, from the first notification to the report.
type Incident struct {
	ID       string  `json:"id"`
	DedupKey string  `json:"dedupKey"` // group key and Target.Key
	Alerts   []Alert `json:"alerts"`   // the group's alerts about this target, latest delivery
	Target   Target  `json:"target"`
	Phase    Phase   `json:"phase"`
	Outcome  Outcome `json:"outcome,omitempty"` // empty while open
	Reason   string  `json:"reason,omitempty"`  // of the outcome, in one sentence
	// Deliveries counts the notifications that named this incident.
	Deliveries int       `json:"deliveries"`
	ReceivedAt time.Time `json:"receivedAt"` // first delivery committed
	ClosedAt   time.Time `json:"closedAt,omitzero"`

	Diagnosis *Diagnosis `json:"diagnosis,omitempty"`
	Plan      *Plan      `json:"plan,omitempty"`
	Decisions []Decision `json:"decisions,omitempty"`
	// Approval is the answer that decided: the last yes that was needed, or a no.
	Approval *Approval `json:"approval,omitempty"`
	// Approvals are all answers, those among them that did not decide yet.
	Approvals    []Approval    `json:"approvals,omitempty"`
	Executions   []Execution   `json:"executions,omitempty"`
	Verification *Verification `json:"verification,omitempty"`
	Timeline     []Event       `json:"timeline"`
	// Trace is the id of its trace, where spans are sent to somebody.
	Trace string `json:"trace,omitempty"`
	// Summary is of the incident as it waits for a person, or as it ended.
	Summary *Summary `json:"summary,omitempty"`

	// An incident whose alerts fire again soon after its end is extended by an
	// episode, which has a diagnosis, a plan and a timeline of its own. First is the
	// id of the first one, Episode the number of this one: empty and 0 in the first.
	// Episodes are all of them, the oldest first, where there are several: at most
	// the last twenty.
	First    string    `json:"first,omitempty"`
	Episode  int       `json:"episode,omitempty"`
	Episodes []Episode `json:"episodes,omitempty"`

	Parent *Parent `json:"parent,omitempty"`
	Parts  *Parts  `json:"parts,omitempty"`

	// Test: a test alert opened it. It never changes anything, whatever the policies
	// and the configuration allow; TestPosted: people are told of it all the same.
	Test       bool `json:"test,omitempty"`
	TestPosted bool `json:"testPosted,omitempty"`
}

// PhaseSince is when the incident came into the phase that it is in, by its timeline;
// zero where that says nothing.
func (i Incident) PhaseSince() time.Time {
	for _, e := range i.Timeline {
		if e.Phase == i.Phase {
			return e.At
		}
	}
	return time.Time{}
}

// Event is one line of the timeline. Every transition is one, and it is written
// before it is acted on.
type Event struct {
	Seq     int               `json:"seq"` // 1, 2, ... within the incident
	At      time.Time         `json:"at"`
	Phase   Phase             `json:"phase"`
	Kind    string            `json:"kind"` // received, measuring, confirmed, planned, decided, intent, applied, verified, ...
	Message string            `json:"message"`
	Fields  map[string]string `json:"fields,omitempty"`
}
