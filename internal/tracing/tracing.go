package tracing

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options of a Tracing. Start from DefaultOptions.
type Options struct {
	// Endpoint is the URL that spans are posted to (OTLP over HTTP), with its path:
	// https://HOST:4318/v1/traces. Empty: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or
	// OTEL_EXPORTER_OTLP_ENDPOINT of the environment say it.
	Endpoint    string
	HeadersFile string  // NAME: VALUE lines, sent with each request; empty: none
	Sample      float64 // share of the incidents, 0 to 1
	Version     string
	Logger      *slog.Logger
	Metrics     *Metrics
	Timeout     time.Duration // of one request
	Batch       time.Duration // how long a span waits for others
	Queue       int           // spans that wait; more are dropped
}

// DefaultOptions traces every incident.
func DefaultOptions() Options {
	return Options{Sample: 1, Logger: slog.New(slog.DiscardHandler), Timeout: 10 * time.Second, Batch: 2 * time.Second, Queue: 4096}
}

func (o Options) validate() error {
	switch {
	case !(o.Sample >= 0 && o.Sample <= 1):
		return fmt.Errorf("option Sample is %v; want a number from 0 to 1", o.Sample)
	case o.Timeout <= 0 || o.Batch <= 0 || o.Queue < 1:
		return fmt.Errorf("options Timeout %s, Batch %s and Queue %d must be more than 0", o.Timeout, o.Batch, o.Queue)
	case o.Logger == nil || o.Metrics == nil:
		return errors.New("options Logger and Metrics must be set")
	}
	return nil
}

// Metrics count spans.
type Metrics struct{ spans *prometheus.CounterVec }

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmend_trace_spans_total",
		Help: "Spans that ended, were sent to the OTLP receiver, or that it did not take; the rest waits or was dropped."}, []string{"result"})}
	for _, r := range []string{"ended", "sent", "failed"} {
		m.spans.WithLabelValues(r)
	}
	reg.MustRegister(m.spans)
	return m
}

// Configured reports whether the environment names a receiver.
func Configured() bool {
	return os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
}

// Tracing makes spans and sends them.
type Tracing struct {
	provider *sdk.TracerProvider
	stop     time.Duration
}

// New makes a Tracing; it connects when there is something to send.
func New(ctx context.Context, o Options) (*Tracing, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	client := &http.Client{Transport: t, Timeout: o.Timeout, CheckRedirect: stay}
	opts := []otlptracehttp.Option{otlptracehttp.WithHTTPClient(client), otlptracehttp.WithTimeout(o.Timeout),
		otlptracehttp.WithMaxResponseSize(64 << 10), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)}
	if o.Endpoint != "" {
		opts = append(opts, otlptracehttp.WithEndpointURL(o.Endpoint))
	}
	var headers map[string]string
	if o.HeadersFile != "" {
		var err error
		if headers, err = Headers(o.HeadersFile); err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
		opts = append(opts, otlptracehttp.WithHeaders(headers))
	}
	out, err := otlptrace.New(ctx, otlptracehttp.NewClient(opts...))
	if err != nil {
		return nil, fmt.Errorf("tracing: making the exporter: %w", err)
	}
	secrets := make([]string, 0, 2*len(headers))
	for _, v := range headers {
		secrets = append(secrets, v, "[secret]")
	}
	said := exporter{out, strings.NewReplacer(secrets...), o.Logger, o.Metrics}
	batch := sdk.NewBatchSpanProcessor(said, sdk.WithBatchTimeout(o.Batch), sdk.WithExportTimeout(o.Timeout), sdk.WithMaxQueueSize(o.Queue))
	return &Tracing{stop: min(o.Timeout, 3*time.Second), provider: sdk.NewTracerProvider(
		sdk.WithIDGenerator(ids{}), sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Sample))), sdk.WithSpanProcessor(counted{batch, o.Metrics}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "kmend"), attribute.String("service.version", o.Version))))}, nil
}

// Tracer is for the stages.
func (t *Tracing) Tracer() trace.Tracer { return t.provider.Tracer("github.com/kmend/kmend") }

// Stop sends what is left, if that takes three seconds at most.
func (t *Tracing) Stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, t.stop)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // the exporter has said what went wrong
}

// stay follows no redirect: the headers are for the configured host.
func stay(*http.Request, []*http.Request) error {
	return errors.New("the receiver redirects, which is not followed; set the endpoint to where it wants to be asked")
}

// counted counts the spans that end, sent or not.
type counted struct {
	sdk.SpanProcessor
	metrics *Metrics
}

func (c counted) OnEnd(s sdk.ReadOnlySpan) {
	if s.SpanContext().IsSampled() {
		c.metrics.spans.WithLabelValues("ended").Inc()
	}
	c.SpanProcessor.OnEnd(s)
}

// exporter says what went wrong in kmend's log, where the SDK would write to standard
// error. The batch is lost then: a trace is no record.
type exporter struct {
	*otlptrace.Exporter
	hide    *strings.Replacer // a receiver may send back what it was sent
	log     *slog.Logger
	metrics *Metrics
}

func (e exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := e.Exporter.ExportSpans(ctx, spans); err != nil {
		e.metrics.spans.WithLabelValues("failed").Add(float64(len(spans)))
		e.log.Warn("spans are lost: the OTLP receiver did not take them", "spans", len(spans), "error", fmt.Sprintf("%.500s", e.hide.Replace(err.Error())))
		return nil
	}
	e.metrics.spans.WithLabelValues("sent").Add(float64(len(spans)))
	return nil
}

// Headers reads a file of NAME: VALUE lines. Its errors do not repeat a value.
func Headers(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the headers: %w", err)
	}
	all := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if name, value = strings.TrimSpace(name), strings.TrimSpace(value); !ok || name == "" || value == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("reading the headers: %s:%d: want NAME: VALUE", file, n)
		}
		all[name] = value
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the headers: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("reading the headers: %s is empty; want NAME: VALUE lines", file)
	}
	return all, nil
}
