package action

import (
	"fmt"
	"math"
)

// DefaultFactor is how much an action multiplies a limit by when the runbook
// does not say.
const DefaultFactor = 2

// Factor checks a parameter `factor`; 0 stands for DefaultFactor. A limit that
// grows tenfold at once is a mistake, not a remediation.
func Factor(f float64) (float64, error) {
	if f == 0 {
		return DefaultFactor, nil
	}
	if math.IsNaN(f) || f <= 1 || f > 10 {
		return 0, fmt.Errorf("with.factor: %v is out of bounds; allowed: more than 1, at most 10", f)
	}
	return f, nil
}
