package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/kmend/kmend/incident"
)

// change is what one step does, as the plan and the execution carry it: edits
// of objects, done in this order and undone in the opposite one.
type change struct {
	Target  string            `json:"target"` // that the plan is for
	Edits   []edit            `json:"edits,omitempty"`
	Did     string            `json:"did"` // for the event: "cordoned the node"
	Wait    incident.Duration `json:"wait,omitempty"`
	Notes   map[string]string `json:"notes,omitempty"` // what waiting for it needs to know
	before  string
	after   string
	summary string
	adds    map[string]float64 // see incident.Preview
}

// encode is the form of Preview.Apply and Execution.State.
func (c change) encode() map[string]string {
	b, err := json.Marshal(c)
	if err != nil {
		return map[string]string{} // JSON values and strings always marshal; empty is refused by decodeChange
	}
	return map[string]string{"change": string(b)}
}

func decodeChange(m map[string]string) (c change, err error) {
	if err := json.Unmarshal([]byte(m["change"]), &c); err != nil {
		return c, fmt.Errorf("it is no change: %w", err)
	}
	for _, e := range c.Edits {
		if err := e.validate(); err != nil {
			return c, err
		}
	}
	if c.Target == "" || c.Wait.D() < 0 || c.Wait.D() > maxTimeout {
		return c, errors.New("it has no target or a strange time limit")
	}
	return c, nil
}

// of reads the change of a step for this target.
func of(target incident.Target, step incident.Step) (change, error) {
	if step.Preview == nil {
		return change{}, errors.New("the step was never previewed")
	}
	c, err := decodeChange(step.Preview.Apply)
	if err != nil {
		return c, fmt.Errorf("reading the preview: %w", err)
	}
	if c.Target != target.String() {
		return c, fmt.Errorf("the preview is for %s and the target is %s", c.Target, target)
	}
	return c, nil
}

// back is the change that undoes c.
func (c change) back() change {
	edits := make([]edit, 0, len(c.Edits))
	for i := len(c.Edits) - 1; i >= 0; i-- {
		edits = append(edits, c.Edits[i].back())
	}
	c.Edits = edits
	return c
}

// limit is how long to wait for the change to show.
func (c change) limit() time.Duration { return c.Wait.D() }

// preconditions are what must still hold, for those who read the plan.
func (c change) preconditions() map[string]string {
	out := maps.Clone(c.Notes)
	if out == nil {
		out = map[string]string{}
	}
	for _, e := range c.Edits {
		out[e.String()+" uid"] = e.UID
		for _, f := range e.Fields {
			out[e.String()+" "+f.Path.String()] = f.before()
		}
	}
	return out
}

// undoing marks the notes of a change that is taken back: what shows it is not
// always what shows the change.
func undoing(notes map[string]string) map[string]string {
	out := maps.Clone(notes)
	if out == nil {
		out = map[string]string{}
	}
	out["undo"] = "true"
	return out
}
