package respond

import (
	"context"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// A step that takes long by nature has the time that its preview says, and never
// less than any step, nor more than an hour.
func TestStepTimeout(t *testing.T) {
	t.Parallel()
	r := &Responder{Options: Options{StageTimeout: 2 * time.Minute}, lease: newLease(true)}
	for _, c := range []struct{ asked, want time.Duration }{
		{0, 2 * time.Minute}, {time.Second, 2 * time.Minute}, {10 * time.Minute, 10 * time.Minute}, {5 * time.Hour, time.Hour},
	} {
		step := incident.Step{Preview: &incident.Preview{Timeout: incident.Duration(c.asked)}}
		_, err := r.bounded(t.Context(), step, func(ctx context.Context) (incident.Execution, error) {
			until, ok := ctx.Deadline()
			if left := time.Until(until); !ok || left > c.want || left < c.want-10*time.Second {
				t.Errorf("%s: %s are left, want %s", c.asked, left, c.want)
			}
			return incident.Execution{}, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if got := r.stepTimeout(incident.Step{}); got != 2*time.Minute {
		t.Errorf("without a preview: %s", got)
	}
}
