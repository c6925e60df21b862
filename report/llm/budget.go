package llm

import (
	"context"
	"fmt"
	"time"
)

// Budget is what may be spent in any hour; a bound of 0 is none.
type Budget struct {
	Calls  int
	Tokens int     // read and written
	Cost   float64 // in the currency of Price
}

// Price is what a million tokens costs.
type Price struct{ Input, Cached, Output float64 }

// of is what a call costs.
func (p Price) of(u Usage) float64 {
	return (float64(u.Input-u.Cached)*p.Input + float64(u.Cached)*p.Cached + float64(u.Output)*p.Output) / 1e6
}

// Spending is what was taken of models in the last hour, a call that is about to be
// made with it.
type Spending struct {
	Calls, Tokens int
	Cost          float64
}

// Purse remembers what was spent for an hour (internal/store: for all replicas, over
// restarts).
type Purse interface {
	// Take sets aside the most that a call may take, if allowed says yes to what is
	// spent with it: refused is its answer otherwise. id is for Pay.
	Take(ctx context.Context, now time.Time, tokens int, cost float64, allowed func(Spending) error) (id int64, refused, err error)
	// Pay puts what a call took in the place of what was set aside.
	Pay(ctx context.Context, id int64, tokens int, cost float64) error
}

// allow says which bound a spending is over.
func (b Budget) allow(s Spending) error {
	switch {
	case b.Calls > 0 && s.Calls > b.Calls:
		return fmt.Errorf("%d calls in an hour are allowed", b.Calls)
	case b.Tokens > 0 && s.Tokens > b.Tokens:
		return fmt.Errorf("%d tokens in an hour are allowed", b.Tokens)
	case b.Cost > 0 && s.Cost > b.Cost:
		return fmt.Errorf("a cost of %g in an hour is allowed", b.Cost)
	}
	return nil
}
