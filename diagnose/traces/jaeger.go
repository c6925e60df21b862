package traces

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jaeger asks the HTTP API that Jaeger's own pages use, in versions 1 and 2.
type jaeger struct{ client client }

// The parts of its answer that are read. Times in microseconds.
type jaegerTrace struct {
	Spans     []jaegerSpan             `json:"spans"`
	Processes map[string]jaegerProcess `json:"processes"`
}

type jaegerSpan struct {
	TraceID       string `json:"traceID"`
	SpanID        string `json:"spanID"`
	OperationName string `json:"operationName"`
	References    []struct {
		RefType string `json:"refType"`
		TraceID string `json:"traceID"`
		SpanID  string `json:"spanID"`
	} `json:"references"`
	StartTime int64       `json:"startTime"`
	Duration  int64       `json:"duration"`
	Tags      []jaegerTag `json:"tags"`
	ProcessID string      `json:"processID"`
}

type jaegerProcess struct {
	ServiceName string      `json:"serviceName"`
	Tags        []jaegerTag `json:"tags"`
}

type jaegerTag struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// text is a tag's value.
func (t jaegerTag) text() string {
	var s string
	if json.Unmarshal(t.Value, &s) != nil {
		s = string(t.Value)
	}
	return bounded(s)
}

func (j jaeger) find(ctx context.Context, q query) ([][]Span, error) {
	params := url.Values{
		"service": {q.service},
		"start":   {strconv.FormatInt(q.start.UnixMicro(), 10)},
		"end":     {strconv.FormatInt(q.end.UnixMicro(), 10)},
		"limit":   {strconv.Itoa(q.limit)},
	}
	if q.longer > 0 {
		params.Set("minDuration", q.longer.Round(time.Microsecond).String())
	}
	if q.failing {
		params.Set("tags", `{"error":"true"}`)
	}
	body, err := j.client.get(ctx, "/api/traces", params)
	if err != nil || body == nil {
		return nil, err
	}
	var answer struct {
		Data []jaegerTrace `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("reading what Jaeger answers: %w", err)
	}
	var all [][]Span
	n := 0
	for _, t := range answer.Data[:min(len(answer.Data), q.limit)] {
		if n += len(t.Spans); n > maxSpans {
			break
		}
		all = append(all, t.spans())
	}
	return all, nil
}

func (t jaegerTrace) spans() []Span {
	out := make([]Span, 0, len(t.Spans))
	for _, js := range t.Spans {
		p := t.Processes[js.ProcessID]
		s := Span{
			Trace: bounded(js.TraceID), ID: js.SpanID, Service: bounded(p.ServiceName), Name: bounded(js.OperationName),
			Start: clamp(js.StartTime, maxTime/1000) * 1000, Duration: clamp(js.Duration, maxDuration/1000) * 1000, Attributes: map[string]string{},
		}
		for _, r := range js.References {
			if r.TraceID == js.TraceID && (s.Parent == "" || r.RefType == "CHILD_OF") {
				s.Parent, s.Follows = r.SpanID, r.RefType == "FOLLOWS_FROM"
			}
		}
		for _, tag := range p.Tags {
			if ofResource(tag.Key) {
				s.Attributes[tag.Key] = tag.text()
			}
		}
		for _, tag := range slices.Concat(p.Tags, js.Tags) {
			switch {
			case ofSpan(tag.Key):
				s.Attributes[tag.Key] = tag.text()
			case tag.Key == "span.kind":
				s.Kind = kindOf(tag.text())
			case tag.Key == "error":
				s.Error = tag.text() == "true"
			case tag.Key == "hostname" && s.Attributes[hostName] == "": // Jaeger's own clients
				s.Attributes[hostName] = tag.text()
			}
		}
		out = append(out, s)
	}
	return out
}

// kindOf reads "server", "SPAN_KIND_SERVER" and the like. Who is sent to by a
// producer is waited for by nobody; the producer itself is as any other span.
func kindOf(s string) Kind {
	switch k := Kind(strings.TrimPrefix(strings.ToLower(s), "span_kind_")); k {
	case Server, Client, Consumer:
		return k
	}
	return Internal
}
