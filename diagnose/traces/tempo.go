package traces

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// tempo searches by TraceQL and then reads each trace, from Tempo 2.7 on.
type tempo struct{ client client }

// fetches are under way at once.
const fetches = 4

var traceID = regexp.MustCompile(`^[0-9a-f]{1,32}$`)

func (t tempo) find(ctx context.Context, q query) ([][]Span, error) {
	body, err := t.client.get(ctx, "/api/search", url.Values{
		"q":     {q.traceQL()},
		"start": {strconv.FormatInt(q.start.Unix(), 10)},
		"end":   {strconv.FormatInt(q.end.Unix()+1, 10)}, // whole seconds
		"limit": {strconv.Itoa(q.limit)},
	})
	if err != nil || body == nil {
		return nil, err
	}
	var found struct {
		Traces []struct {
			TraceID string `json:"traceID"`
		} `json:"traces"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, fmt.Errorf("reading what Tempo found: %w", err)
	}
	found.Traces = found.Traces[:min(len(found.Traces), q.limit)]
	all, errs := make([][]Span, len(found.Traces)), make([]error, len(found.Traces))
	turns := make(chan struct{}, fetches)
	var wg sync.WaitGroup
	for i, f := range found.Traces {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() {
				<-turns
				if v := recover(); v != nil {
					errs[i] = fmt.Errorf("internal error: panic: %v", v)
				}
			}()
			all[i], errs[i] = t.read(ctx, f.TraceID)
		})
	}
	wg.Wait()
	out, n := [][]Span{}, 0
	for i, spans := range all {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if n += len(spans); n <= maxSpans && len(spans) > 0 {
			out = append(out, spans)
		}
	}
	return out, nil
}

// traceQL is the query as TraceQL.
func (q query) traceQL() string {
	filter := `resource.service.name = "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(q.service) + `"`
	if q.longer > 0 {
		filter += " && duration > " + strconv.FormatInt(q.longer.Microseconds(), 10) + "us"
	}
	if q.failing {
		filter += " && status = error"
	}
	return "{ " + filter + " }"
}

// read fetches one trace.
func (t tempo) read(ctx context.Context, id string) ([]Span, error) {
	if id = strings.ToLower(id); !traceID.MatchString(id) {
		return nil, fmt.Errorf("reading what Tempo found: %.40q is no id of a trace", id)
	}
	body, err := t.client.get(ctx, "/api/v2/traces/"+id, nil)
	if err != nil || body == nil {
		return nil, err
	}
	var answer struct {
		Trace json.RawMessage `json:"trace"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("reading a trace of Tempo's: %w", err)
	}
	if len(answer.Trace) == 0 {
		return nil, nil
	}
	var data trace.TracesData
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(answer.Trace, &data); err != nil {
		return nil, fmt.Errorf("reading a trace of Tempo's: %w", err)
	}
	return spansOfOTLP(id, &data), nil
}

// spansOfOTLP reads a trace in OpenTelemetry's own form.
func spansOfOTLP(id string, data *trace.TracesData) (out []Span) {
	for _, resource := range data.GetResourceSpans() {
		attributes := map[string]string{}
		service := keep(attributes, resource.GetResource().GetAttributes(), ofResource)
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				span := Span{
					Trace: id, ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Service: service, Name: bounded(s.GetName()), Kind: kindOf(s.GetKind().String()),
					Start:    clamp(int64(s.GetStartTimeUnixNano()), maxTime),
					Duration: clamp(int64(s.GetEndTimeUnixNano()-s.GetStartTimeUnixNano()), maxDuration),
					Error:    s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR, Attributes: map[string]string{},
				}
				for k, v := range attributes {
					span.Attributes[k] = v
				}
				keep(span.Attributes, s.GetAttributes(), ofSpan)
				out = append(out, span)
				if len(out) > maxSpans {
					return out[:maxSpans]
				}
			}
		}
	}
	return out
}

// keep takes the attributes that are wanted, and gives the service's name.
func keep(into map[string]string, from []*common.KeyValue, wanted func(string) bool) (service string) {
	for _, a := range from {
		value := ""
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			value = bounded(v.StringValue)
		case *common.AnyValue_IntValue:
			value = strconv.FormatInt(v.IntValue, 10)
		}
		switch key := a.GetKey(); {
		case key == "service.name":
			service = value
		case wanted(key):
			into[key] = value
		}
	}
	return service
}
