package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/common/model"

	"github.com/kmend/kmend/diagnose/logs"
	"github.com/kmend/kmend/diagnose/traces"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/internal/secret"
)

// sources are the checks of those that kmend asks beside the kernel.
func (e examiner) sources() []doctor.Check {
	const group = "sources"
	check := func(name, field string, set bool, ask func(context.Context) []doctor.Line) doctor.Check {
		if !set {
			return saying(group, doctor.Absent(name, "not configured (%s)", field))
		}
		return doctor.Check{Group: group, Name: name, Run: ask}
	}
	c := e.config
	return []doctor.Check{
		check("Prometheus", "prometheus.url", c.Prometheus.URL != "", c.Prometheus.examine),
		check("Jaeger", "traces.jaeger.url", c.Traces.Jaeger.URL != "", func(ctx context.Context) []doctor.Line { return c.Traces.Jaeger.examine(ctx, traces.Jaeger) }),
		check("Tempo", "traces.tempo.url", c.Traces.Tempo.URL != "", func(ctx context.Context) []doctor.Line { return c.Traces.Tempo.examine(ctx, traces.Tempo) }),
		check("Loki", "logs.loki", c.Logs.Loki != nil, func(ctx context.Context) []doctor.Line { return examineLogs(ctx, "logs.loki", c.Logs.Loki.open) }),
		check("Elasticsearch", "logs.elasticsearch", c.Logs.Elasticsearch != nil, func(ctx context.Context) []doctor.Line {
			return examineLogs(ctx, "logs.elasticsearch", c.Logs.Elasticsearch.open)
		}),
	}
}

// sourceLine is the line of a source that was asked something trivial.
func sourceLine(field string, started time.Time, err error) doctor.Line {
	if err != nil {
		if u, is := errors.AsType[*url.Error](err); is { // its URL holds the query
			err = u.Err
		}
		return doctor.Wrong("", fmt.Sprintf("see that it is up and can be reached from here, and that %s and its credentials are right; diagnoses go on without it", field), "%v", err)
	}
	return doctor.Fine("", "it answers a query (%s)", time.Since(started).Round(time.Millisecond))
}

// examine asks Prometheus for the time.
func (p Prometheus) examine(ctx context.Context) []doctor.Line {
	asked := time.Now()
	api, err := p.client()
	if err != nil {
		return []doctor.Line{sourceLine("prometheus", asked, err)}
	}
	got, _, _, err := api.Query(ctx, "time()", time.Time{})
	answered := time.Now()
	lines := []doctor.Line{sourceLine("prometheus", asked, err)}
	if s, ok := got.(*model.Scalar); ok && err == nil {
		theirs := time.UnixMilli(int64(float64(s.Value) * 1000))
		by := theirs.Sub(answered)
		if by < 0 {
			by = min(theirs.Sub(asked), 0)
		}
		lines = append(lines, clockLine("clock of Prometheus", "Prometheus", by))
	}
	return lines
}

// examine asks a store of traces for what each has.
func (s TraceStore) examine(ctx context.Context, system string) []doctor.Line {
	started := time.Now()
	o := traces.DefaultOptions()
	o.System, o.URL = system, s.URL
	var err error
	if s.TokenFile != "" {
		o.Token, err = secret.Open(s.TokenFile)
	}
	if err == nil {
		var source *traces.Source
		if source, err = traces.New(o); err == nil {
			err = source.Check(ctx)
		}
	}
	return []doctor.Line{sourceLine("traces."+system, started, err)}
}

// examineLogs asks a store of logs for the lines of a pod that is not there.
func examineLogs[S logStore](ctx context.Context, field string, open func() (S, error)) []doctor.Line {
	started := time.Now()
	s, err := open()
	if err == nil {
		defer s.Close()
		_, err = s.Lines(ctx, logs.Query{Target: incident.Target{Namespace: "kmend-doctor", Pod: "none"}, From: started.Add(-time.Minute), To: started, Limit: 1})
	}
	if errors.Is(err, logs.ErrNotAsked) {
		return []doctor.Line{doctor.Absent("", "%v: only lines of other targets are read", err)}
	}
	return []doctor.Line{sourceLine(field, started, err)}
}
