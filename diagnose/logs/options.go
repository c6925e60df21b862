package logs

import (
	"errors"
	"fmt"
	"time"

	"github.com/kmend/kmend/internal/redact"
)

// Options of a Reader. Start from DefaultOptions.
type Options struct {
	Store  Store
	Letter string // that the ids of its evidence begin with
	// Before is how long before the measured window lines count as around it, and
	// Baseline how long before that they are compared with.
	Before, Baseline time.Duration
	// Limit is how many lines one query may give. There are at most four queries.
	Limit int
	// Templates is how many are shown.
	Templates int
	Timeout   time.Duration // of all queries; less than the investigator's, so that what came is used
	Redact    redact.Redactor
	Metrics   *Metrics // nil: nothing is counted
}

// DefaultOptions are everything but the store.
func DefaultOptions() Options {
	return Options{Letter: "l", Before: 5 * time.Minute, Baseline: 15 * time.Minute, Limit: 500, Templates: 8, Timeout: 4 * time.Second}
}

// Bounds of what a configuration may say.
const (
	MinLimit, MaxLimit   = 10, 5000 // 5000 is what Loki allows by default
	MinAround, MaxAround = time.Second, 24 * time.Hour
	MinTimeout           = 100 * time.Millisecond
	MaxTimeout           = time.Minute
	maxTemplates         = 50
)

func (o Options) validate() error {
	for name, d := range map[string]time.Duration{"Before": o.Before, "Baseline": o.Baseline} {
		if d < MinAround || d > MaxAround {
			return fmt.Errorf("%s is %s; want %s to %s", name, d, MinAround, MaxAround)
		}
	}
	switch {
	case o.Store == nil || o.Letter == "":
		return errors.New("Store or Letter is not set")
	case o.Limit < MinLimit || o.Limit > MaxLimit:
		return fmt.Errorf("Limit is %d; want %d to %d", o.Limit, MinLimit, MaxLimit)
	case o.Templates < 1 || o.Templates > maxTemplates:
		return fmt.Errorf("Templates is %d; want 1 to %d", o.Templates, maxTemplates)
	case o.Timeout < MinTimeout || o.Timeout > MaxTimeout:
		return fmt.Errorf("Timeout is %s; want %s to %s", o.Timeout, MinTimeout, MaxTimeout)
	}
	return nil
}
