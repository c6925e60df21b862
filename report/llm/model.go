package llm

import (
	"context"
	"encoding/json"
	"errors"
)

// Prompt is one call of a model. It is answered with JSON, or it is an error.
type Prompt struct {
	System    string          // what kmend wants, nothing of an incident in it
	User      string          // the facts, fenced
	Name      string          // of what is asked for: "summary" or "verdict"
	Schema    json.RawMessage // JSON Schema of the answer
	MaxTokens int             // of the answer
}

// Completion is what a model answered.
type Completion struct {
	JSON  json.RawMessage // not checked
	Model string          // which one it was, as the provider says
	Usage Usage
}

// Usage is what a call took, in tokens. Cached are those of Input that the
// provider had read before.
type Usage struct{ Input, Cached, Output int }

// Errors of a Model, beside those of its transport.
var (
	// ErrLimited: the provider takes no more for now.
	ErrLimited = errors.New("the model's provider takes no more for now")
	// ErrRefused: the same again gives the same: credentials, an unknown model, a
	// request that it does not take, an answer that it does not give.
	ErrRefused = errors.New("the model's provider refuses")
)

// Model is a large language model behind a provider's API. A call that was cut
// short may have been paid for all the same.
type Model interface {
	Complete(ctx context.Context, p Prompt) (Completion, error)
}
