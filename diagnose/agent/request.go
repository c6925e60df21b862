package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// APIVersion is the version of the request and of the answer. An agent answers
// the versions minAPIVersion to APIVersion and refuses others with a reason.
const (
	APIVersion    = 1
	minAPIVersion = 1
)

// The kinds of refusal. An error of Measure and Capabilities is one of these
// (errors.Is), with a message that says what was wrong and what to do, or an
// error of the transport. The same hold in this process and over the network.
var (
	ErrInvalid         = errors.New("invalid request")
	ErrNotFound        = errors.New("target not found on this node")
	ErrBusy            = errors.New("agent busy")
	ErrUnsupported     = errors.New("not supported on this node")
	ErrVersion         = errors.New("agent speaks another version")
	ErrUnauthenticated = errors.New("agent refused the token")
)

// refusal is an error of one of the kinds above; its text is the message alone.
type refusal struct {
	kind    error
	message string
}

func (r *refusal) Error() string { return r.message }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind, fmt.Sprintf(format, args...)}
}

// Request asks for one measurement.
type Request struct {
	Target incident.Target
	Window time.Duration // 0: 3 s
	Budget Budget        // zero fields: the agent's own; larger ones are cut to it
	// Since asks about a window that is over, which the flight recorder answers;
	// Window means nothing then. Until is its end, zero: now.
	Since, Until time.Time
}

// Budget is what one measurement may take from the node. The agent watches
// itself and aborts over it.
type Budget struct {
	CPU time.Duration // CPU time of the agent, beside what the kernel spends in the probes
	// Memory in bytes: the probes' tables in the kernel, and by how much this
	// process has grown since the request came.
	Memory int64
}

// Stage is where a measurement is.
type Stage string

const (
	Resolved  Stage = "resolved"  // the target was found on the node
	Measuring Stage = "measuring" // the window is open
	Measured  Stage = "measured"  // the window is closed and read
)

// Progress is one step of a measurement under way.
type Progress struct {
	Stage   Stage
	Message string        // for a person
	Window  time.Duration // of Measuring: how long it will take
}

// Capabilities is what an agent says of itself.
type Capabilities struct {
	APIVersion   int                    `json:"apiVersion"`
	AgentVersion string                 `json:"agentVersion"`
	Node         incident.Node          `json:"node"`
	CgroupMode   string                 `json:"cgroupMode"` // "v1", "v2" or "hybrid" (cpu controller on v1, v2 beside it)
	Probes       []incident.ProbeStatus `json:"probes"`     // ok or unsupported with the reason
	MaxWindow    incident.Duration      `json:"maxWindow"`
	MaxAtOnce    int                    `json:"maxAtOnce"`
	// Clock is the time by the clock of an agent across the network, in whole seconds,
	// as it answered; zero: it did not say.
	Clock time.Time `json:"-"`
}
