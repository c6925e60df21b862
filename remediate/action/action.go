// Package action declares what a remediation can do. Each system acted on is a
// folder below it; remediate runs them.
package action

import (
	"context"

	"github.com/kmend/kmend/incident"
)

// Action changes one kind of thing on one system, and knows how to preview and
// undo it.
type Action interface {
	// Name is what runbooks write: "kubernetes.resize_cpu".
	Name() string
	// Params is a pointer to a zero struct of the parameters that a runbook's
	// `with` takes, with json and jsonschema tags: the schema and the strict
	// decoding of `with` come from it.
	Params() any
	// Preview says what Apply would change now, asking the system itself where
	// it can (server-side dry run), and changes nothing.
	Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error)
	// Apply does what the step's Preview said, after reading the real state: a
	// precondition that no longer holds is an error and nothing is changed;
	// state that is already as wanted is Result "already applied".
	Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error)
	// Undo puts back what done changed. State changed since by somebody else is
	// an error and stays as it is.
	Undo(ctx context.Context, target incident.Target, step incident.Step, done incident.Execution) (incident.Execution, error)
}
