package metrics

import (
	"context"
	"fmt"
	"math"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// vector asks for one instant. More series than are taken are an error: a part of them
// would be a guess. So is a warning, which is about a part of the data.
func (m *Metrics) vector(ctx context.Context, query string, at time.Time) (model.Vector, error) {
	v, warnings, _, err := m.API.Query(ctx, query, at, v1.WithLimit(uint64(m.MaxSeries)+1))
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w", err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("asking Prometheus: it warns: %.200q", warnings[0])
	}
	switch v := v.(type) {
	case model.Vector:
		if len(v) > m.MaxSeries {
			return nil, fmt.Errorf("asking Prometheus: more than %d series; make the query narrower", m.MaxSeries)
		}
		return v, nil
	case *model.Scalar:
		return model.Vector{{Value: v.Value, Timestamp: v.Timestamp}}, nil
	}
	return nil, fmt.Errorf("asking Prometheus: the query gives a %s, want a vector", v.Type())
}

// steps is how many values of a series a baseline looks at.
const steps = 60

// before asks for the time before an instant.
func (m *Metrics) before(ctx context.Context, query string, end time.Time) (model.Matrix, error) {
	v, _, _, err := m.API.QueryRange(ctx, query, v1.Range{Start: end.Add(-m.Baseline), End: end, Step: m.Baseline / steps}, v1.WithLimit(uint64(m.MaxSeries)+1))
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus about the time before: %w", err)
	}
	x, ok := v.(model.Matrix)
	if !ok || len(x) > m.MaxSeries {
		return nil, fmt.Errorf("asking Prometheus about the time before: the answer is no matrix, or has more than %d series", m.MaxSeries)
	}
	return x, nil
}

// number asks for one number; ok is false where there is none.
func (m *Metrics) number(ctx context.Context, query string, at time.Time) (n float64, ok bool, err error) {
	v, err := m.vector(ctx, query, at)
	switch {
	case err != nil || len(v) == 0:
		return 0, false, err
	case len(v) > 1:
		return 0, false, fmt.Errorf("asking Prometheus: %d series, want one number: sum them up", len(v))
	}
	n = float64(v[0].Value)
	return n, usable(n), nil
}

func usable(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
