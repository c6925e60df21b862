package outbox

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// turn is one call of send.
type turn struct {
	id string
	at time.Duration // since the start
}

// sent runs an Outbox for a day of synctest's clock and returns its turns. answer is told
// how often the incident has had one.
func sent(t *testing.T, pace Pace, answer func(id string, times int) Result) (turns []turn) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := New()
		for _, id := range []string{"a", "b", "a", "c"} {
			o.Changed(id, id == "c")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		start, times := time.Now(), map[string]int{}
		o.Run(ctx, pace, func(_ context.Context, id string, _ time.Duration) Result {
			turns = append(turns, turn{id, time.Since(start)})
			times[id]++
			return answer(id, times[id])
		})
	})
	return turns
}

// An incident has one turn however often it changed, who is urgent comes first, and
// what sent nothing holds up nobody.
func TestTurns(t *testing.T) {
	got := sent(t, Pace{Interval: time.Second, Retry: time.Second}, func(id string, _ int) Result { return Result{Sent: id != "a"} })
	want := []turn{{"c", 0}, {"a", time.Second}, {"b", time.Second}}
	if !slices.Equal(got, want) {
		t.Errorf("turns %v, want %v", got, want)
	}
}

// What failed comes again, after twice as long each time, a minute at most.
func TestRetries(t *testing.T) {
	got := sent(t, Pace{Retry: 10 * time.Second}, func(id string, times int) Result {
		if id != "b" || times == 6 {
			return Result{}
		}
		return Result{Err: errors.New("away")}
	})
	var at []time.Duration
	for _, turn := range got {
		if turn.id == "b" {
			at = append(at, turn.at/time.Second)
		}
	}
	if want := []time.Duration{0, 10, 30, 70, 130, 190}; !slices.Equal(at, want) {
		t.Errorf("turns at %v seconds, want %v", at, want)
	}
}

// A receiver that wants less gets nothing for as long as it says.
func TestLimited(t *testing.T) {
	got := sent(t, Pace{Interval: time.Second, Retry: time.Second}, func(id string, times int) Result {
		if id == "c" && times == 1 {
			return Result{Sent: true, Err: errors.New("limited"), Limited: true, After: time.Hour}
		}
		return Result{Sent: true}
	})
	want := []turn{{"c", 0}, {"c", time.Hour}, {"a", time.Hour + time.Second}, {"b", time.Hour + 2*time.Second}}
	if !slices.Equal(got, want) {
		t.Errorf("turns %v, want %v", got, want)
	}
}
