package llm

import (
	"context"
	"sync"
	"time"
)

// purse is a Purse in memory.
type purse struct {
	mu    sync.Mutex
	spent []*spending
}

type spending struct {
	at     time.Time
	tokens int
	cost   float64
}

func (p *purse) Take(_ context.Context, now time.Time, tokens int, cost float64, allowed func(Spending) error) (id int64, refused, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := Spending{1, tokens, cost}
	for _, s := range p.spent {
		if now.Sub(s.at) < time.Hour {
			sum = Spending{sum.Calls + 1, sum.Tokens + s.tokens, sum.Cost + s.cost}
		}
	}
	if refused = allowed(sum); refused != nil {
		return 0, refused, nil
	}
	p.spent = append(p.spent, &spending{now, tokens, cost})
	return int64(len(p.spent) - 1), nil, nil
}

func (p *purse) Pay(_ context.Context, id int64, tokens int, cost float64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent[id].tokens, p.spent[id].cost = tokens, cost
	return nil
}
