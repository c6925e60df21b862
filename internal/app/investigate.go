package app

import (
	"fmt"
	"regexp"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/diagnose/metrics"
	"github.com/kmend/kmend/incident"
)

// investigator joins the sources beside the kernel that are configured.
func (a *App) investigator() (*investigate.Investigator, error) {
	o := investigate.DefaultOptions()
	o.Logger = a.log
	t := a.config.Traces
	o.Before, o.ServiceLabels, o.Depth = t.Window.D(), t.ServiceLabels, t.Depth
	tracers, absent, err := t.tracers()
	if err != nil {
		return nil, err
	}
	o.Tracers, o.Absent = tracers, append(o.Absent, absent...)
	// A tracer has a time limit of its own, for all that it asks.
	o.SourceTimeout = max(o.SourceTimeout, t.Timeout.D())
	o.MaxPods = a.config.Diagnose.MaxPods
	if a.workloads, err = a.config.watched(a.opts.Version, a.log); err != nil {
		return nil, err
	}
	if a.workloads != nil {
		o.Workloads = a.workloads
	} else {
		o.Absent = append(o.Absent, absentSource("kubernetes", "kubernetes.enabled is not set"))
	}
	m, err := a.metrics()
	if err != nil {
		return nil, err
	}
	if m != nil {
		o.Ranker, o.Observers = m, append(o.Observers, m)
	} else {
		o.Absent = append(o.Absent, absentSource("prometheus", "prometheus.url is not set"))
	}
	observers, unlogged, err := a.logs()
	if err != nil {
		return nil, err
	}
	o.Observers, o.Absent = append(o.Observers, observers...), append(o.Absent, unlogged...)
	return investigate.New(o)
}

func absentSource(name, why string) incident.Source {
	return incident.Source{Name: name, Status: incident.SourceAbsent, Reason: why}
}

// metrics is what asks Prometheus; nil where there is none.
func (a *App) metrics() (*metrics.Metrics, error) {
	api, err := a.config.Prometheus.client()
	if err != nil || api == nil {
		return nil, err
	}
	o := metrics.DefaultOptions()
	o.API, o.SLOLabels = api, a.config.Diagnose.Labels.SLO
	if a.workloads != nil {
		o.Workloads = a.workloads
	}
	for _, s := range a.config.Prometheus.Suspects {
		q, err := s.query()
		if err != nil {
			return nil, err
		}
		o.Suspects = append(o.Suspects, q)
	}
	for _, s := range a.config.SLOs {
		if s.Requests != "" {
			o.SLOs = append(o.SLOs, s.counted())
		}
	}
	return metrics.New(o)
}

// query is the configured one.
func (s Suspect) query() (metrics.Suspect, error) {
	q := metrics.Suspect{Labels: s.Labels, Query: s.Query, PodLabel: s.PodLabel}
	if q.PodLabel == "" {
		q.PodLabel = "pod"
	}
	if s.Alert != "" {
		var err error
		if q.Alert, err = regexp.Compile("^(?:" + s.Alert + ")$"); err != nil {
			return q, fmt.Errorf("prometheus.suspects: %w", err)
		}
	}
	return q, nil
}

// target is what the SLO is about.
func (s SLO) target() incident.Target {
	return incident.Target{Namespace: s.Namespace, Workload: s.Workload, Service: s.Service}
}

// counted is the SLO with its queries.
func (s SLO) counted() metrics.SLO {
	return metrics.SLO{Name: s.Name, Target: s.target(), Objective: s.Objective, Window: s.Window.D(), Errors: s.Errors, Requests: s.Requests}
}
