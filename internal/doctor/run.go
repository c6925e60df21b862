package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// slow is after how long it is said what is waited for.
const slow = 2 * time.Second

// grace is how much longer a check may take that was told to end, before it is left
// to itself.
const grace = 500 * time.Millisecond

// answered are the lines of the check with a number.
type answered struct {
	check int
	lines []Line
}

// Run runs all checks at once. Their lines come in the order of the checks, however
// long each took. waiting, where it is not nil, is told every two seconds which have
// not answered yet.
func Run(ctx context.Context, checks []Check, waiting func(names []string)) []Line {
	done := make(chan answered, len(checks))
	for i, c := range checks {
		go func() { done <- answered{i, c.lines(ctx)} }()
	}
	all := make([][]Line, len(checks))
	tick := time.NewTicker(slow)
	defer tick.Stop()
	for left := len(checks); left > 0; {
		select {
		case a := <-done:
			all[a.check] = a.lines
			left--
		case <-tick.C:
			if waiting != nil {
				waiting(unanswered(checks, all))
			}
		}
	}
	var out []Line
	for _, lines := range all {
		out = append(out, lines...)
	}
	return out
}

func unanswered(checks []Check, all [][]Line) (names []string) {
	for i, c := range checks {
		if all[i] == nil {
			names = append(names, c.Name)
		}
	}
	return names
}

// lines runs the check, within its limit even where it does not heed it.
func (c Check) lines(ctx context.Context) []Line {
	limit := c.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLate)
	defer cancel()
	got := make(chan []Line, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				got <- []Line{Wrong("", "report this as a bug of kmend's", "the check itself failed: %v", v)}
			}
		}()
		got <- c.Run(ctx)
	}()
	select {
	case lines := <-got:
		return c.placed(lines)
	case <-ctx.Done():
	}
	select {
	case lines := <-got: // it heeds the limit, and says more than that it is over
		return c.placed(lines)
	case <-time.After(grace):
	}
	why := fmt.Sprintf("no answer within %s", limit)
	if !errors.Is(context.Cause(ctx), errLate) {
		why = "it was told to stop"
	}
	return c.placed([]Line{Wrong("", "see whether it is up and can be reached from here", "%s", why)})
}

var errLate = errors.New("the check took too long")

// placed puts lines that have no group into the check's.
func (c Check) placed(lines []Line) []Line {
	out := make([]Line, 0, max(len(lines), 1)) // not nil: it has answered
	for _, l := range lines {
		if l.Group == "" {
			l.Group = c.Group
		}
		if l.Name == "" {
			l.Name = c.Name
		}
		out = append(out, l)
	}
	return out
}
