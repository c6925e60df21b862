package llm

import (
	"fmt"
	"sync"
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

// purse is a Budget being spent. What is spent counts for an hour.
type purse struct {
	Budget
	price Price

	mu    sync.Mutex
	spent []*spending
}

type spending struct {
	at     time.Time
	tokens int
	cost   float64
}

// take sets aside the most that a call may take. It is ok while the bounds hold with
// it; what it took in fact, the caller tells pay, and without that all of it counts.
func (p *purse) take(now time.Time, most Usage) (s *spending, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.spent) > 0 && now.Sub(p.spent[0].at) >= time.Hour {
		p.spent = p.spent[1:]
	}
	s = &spending{at: now, tokens: most.Input + most.Output, cost: p.price.of(most)}
	calls, tokens, cost := 1, s.tokens, s.cost
	for _, before := range p.spent {
		calls, tokens, cost = calls+1, tokens+before.tokens, cost+before.cost
	}
	switch {
	case p.Calls > 0 && calls > p.Calls:
		return nil, fmt.Errorf("%d calls in an hour are allowed", p.Calls)
	case p.Tokens > 0 && tokens > p.Tokens:
		return nil, fmt.Errorf("%d tokens in an hour are allowed", p.Tokens)
	case p.Cost > 0 && cost > p.Cost:
		return nil, fmt.Errorf("a cost of %g in an hour is allowed", p.Cost)
	}
	p.spent = append(p.spent, s)
	return s, nil
}

// pay puts what a call took in the place of what was set aside.
func (p *purse) pay(s *spending, took Usage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.tokens, s.cost = took.Input+took.Output, p.price.of(took)
}
