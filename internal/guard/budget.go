package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/policies"
)

// Prometheus answers the queries of error budgets. Nil is none.
type Prometheus struct{ api prometheus.API }

// NewPrometheus asks the Prometheus behind a client (internal/prometheus).
func NewPrometheus(api prometheus.API) *Prometheus { return &Prometheus{api} }

// budget asks both queries for the same instant.
func (p *Prometheus) budget(ctx context.Context, q policies.BudgetQuery) (b policies.Budget, err error) {
	if p == nil {
		return b, errors.New("Prometheus is not configured; set prometheus.url in kmend.yaml")
	}
	now := time.Now()
	requests, ok, err := p.number(ctx, q.Requests, now)
	if err == nil && !ok {
		err = errors.New("there are no series")
	}
	if err != nil {
		return b, fmt.Errorf("asking Prometheus for the requests: %w", err)
	}
	failed, _, err := p.number(ctx, q.Errors, now) // no series of errors: no errors
	if err != nil {
		return b, fmt.Errorf("asking Prometheus for the errors: %w", err)
	}
	return policies.Budget{Requests: requests, Errors: failed}, nil
}

// number asks a query whose answer is a scalar or a vector of at most one
// element; ok is false for an empty vector. An answer with a warning is none: it
// may be of a part of the data.
func (p *Prometheus) number(ctx context.Context, query string, at time.Time) (n float64, ok bool, err error) {
	v, warnings, _, err := p.api.Query(ctx, query, at)
	if err != nil {
		return 0, false, err
	}
	if len(warnings) > 0 {
		return 0, false, fmt.Errorf("it warns: %.200q", warnings[0])
	}
	switch v := v.(type) {
	case *model.Scalar:
		return float64(v.Value), true, nil
	case model.Vector:
		switch len(v) {
		case 0:
			return 0, false, nil
		case 1:
			return float64(v[0].Value), true, nil
		}
		return 0, false, fmt.Errorf("the query gives %d series, want one number: sum them up", len(v))
	}
	return 0, false, fmt.Errorf("the query gives a %s, want one number", v.Type())
}
