package metrics

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/kmend/kmend/incident"
)

// Options of Metrics. Start from DefaultOptions.
type Options struct {
	API v1.API // of internal/prometheus
	// Workloads knows a target's siblings; nil: nobody does, and there are no outliers.
	Workloads Workloads
	// Suspects are the queries that tell pods apart, the first that is for an alert counts.
	Suspects []Suspect
	SLOs     []SLO
	// SLOLabels are labels of alerts that hold the name of an SLO.
	SLOLabels []string
	// Baseline is how long before the alert its expression is looked at, for comparison.
	Baseline time.Duration
	// MaxSeries bounds what one query may answer.
	MaxSeries int
	// Now is the time; tests have their own.
	Now func() time.Time
}

// Workloads knows the pods that a pod is one of (diagnose/workloads).
type Workloads interface {
	Siblings(ctx context.Context, t incident.Target) ([]incident.Target, error)
}

// Suspect is a query that gives one number for each pod, more for the more suspicious.
type Suspect struct {
	Alert    *regexp.Regexp    // of the alert's name; nil: any
	Labels   map[string]string // that the alert has; nil: any
	Query    string            // with $namespace, $workload, $service, $container, $node, $pods
	PodLabel string            // of its series
}

// SLO is an objective and how to count what misses it.
type SLO struct {
	Name      string
	Target    incident.Target // its namespace and workload or service
	Objective float64         // 0.999
	Window    time.Duration   // that the error budget is for
	// Errors and Requests give one number each; $window is how far back to look.
	Errors, Requests string
}

// DefaultOptions is without Prometheus.
func DefaultOptions() Options {
	return Options{Baseline: time.Hour, MaxSeries: 2000, Now: time.Now}
}

func (o Options) validate() error {
	switch {
	case o.API == nil:
		return errors.New("option API is nil; set prometheus.url in kmend.yaml")
	case o.Baseline < time.Minute || o.Baseline > 24*time.Hour:
		return fmt.Errorf("option Baseline is %s; it must be from 1m to 24h", o.Baseline)
	case o.MaxSeries < 1 || o.MaxSeries > 100_000:
		return fmt.Errorf("option MaxSeries is %d; it must be from 1 to 100000", o.MaxSeries)
	case o.Now == nil:
		return errors.New("option Now is nil; use time.Now")
	}
	for _, s := range o.Suspects {
		if err := s.Check(); err != nil {
			return err
		}
	}
	for _, s := range o.SLOs {
		if err := s.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Check says what is wrong with a query, before there is anything to ask about.
func (s Suspect) Check() error {
	query, err := fill(s.Query, examples)
	if err != nil {
		return err
	}
	if _, err := parser.ParseExpr(query); err != nil {
		return fmt.Errorf("query %q: %w", s.Query, err)
	}
	return nil
}

// Check says what is wrong with an SLO.
func (s SLO) Check() error {
	switch {
	case s.Objective <= 0 || s.Objective >= 1:
		return fmt.Errorf("the objective of SLO %s is %v; want more than 0 and less than 1, such as 0.999", s.Name, s.Objective)
	case s.Window < time.Hour || s.Window > 90*24*time.Hour:
		return fmt.Errorf("the window of SLO %s is %s; want 1h to 2160h", s.Name, s.Window)
	}
	for _, q := range []string{s.Errors, s.Requests} {
		query, err := fill(q, s.values(s.Window))
		if err != nil {
			return fmt.Errorf("SLO %s: %w", s.Name, err)
		}
		if _, err := parser.ParseExpr(query); err != nil {
			return fmt.Errorf("SLO %s: query %q: %w", s.Name, q, err)
		}
	}
	return nil
}

// Metrics asks Prometheus. It is safe for concurrent use.
type Metrics struct{ Options }

// New makes Metrics.
func New(o Options) (*Metrics, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("making what asks Prometheus: %w", err)
	}
	return &Metrics{o}, nil
}

// Name is the source's.
func (m *Metrics) Name() string { return "prometheus" }
