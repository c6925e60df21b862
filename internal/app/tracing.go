package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/tracing"
	"github.com/kmend/kmend/report/llm"
)

// Tracing says where spans are sent. docs/tracing.md.
type Tracing struct {
	Endpoint       string   `json:"endpoint,omitempty" jsonschema_description:"URL that spans are posted to, OTLP over HTTP, with its path: https://HOST:4318/v1/traces. Default: what OTEL_EXPORTER_OTLP_ENDPOINT of the environment says."`
	HeadersFile    string   `json:"headersFile,omitempty" jsonschema_description:"File of NAME: VALUE lines that are sent as headers, such as a token."`
	Sample         *float64 `json:"sample,omitempty" jsonschema:"minimum=0,maximum=1" jsonschema_description:"Share of the incidents that are traced; default 1."`
	CaptureContent bool     `json:"captureContent,omitempty" jsonschema_description:"Also send what models are asked and answer. Default false."`
}

// checkTracing checks what an exporter would say at the first span.
func (c Config) checkTracing(k *checker) {
	t := c.Tracing
	if t == nil {
		return
	}
	if t.Endpoint == "" && !tracing.Configured() {
		k.at("tracing", "tracing.endpoint is missing, and the environment has no OTEL_EXPORTER_OTLP_ENDPOINT; set one, such as http://127.0.0.1:4318/v1/traces")
	}
	if t.HeadersFile != "" {
		if _, err := tracing.Headers(t.HeadersFile); err != nil {
			k.at("tracing.headersFile", "tracing.headersFile: %v", err)
		}
	}
	if t.Endpoint == "" {
		return
	}
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Path == "" || u.Path == "/" {
		k.at("tracing.endpoint", "tracing.endpoint is no URL with a path and without user and query; want https://HOST:4318/v1/traces")
		return
	}
	if t.HeadersFile != "" && u.Scheme == "http" && !plainAllowed(u) {
		k.at("tracing.endpoint", "tracing.endpoint is %q: the headers would cross the network unencrypted; use https", t.Endpoint)
	}
}

// trace makes a.tracer: of nothing, unless the configuration or the environment names
// a receiver.
func (a *App) trace(ctx context.Context) error {
	a.tracer = noop.NewTracerProvider().Tracer("")
	c := a.config.Tracing
	if c == nil {
		if !tracing.Configured() {
			return nil
		}
		c = &Tracing{}
	}
	o := tracing.DefaultOptions()
	o.Endpoint, o.HeadersFile, o.Version, o.Logger, o.Metrics = c.Endpoint, c.HeadersFile, a.opts.Version, a.log, tracing.NewMetrics(a.registry)
	if c.Sample != nil {
		o.Sample = *c.Sample
	}
	t, err := tracing.New(ctx, o)
	if err != nil {
		return err
	}
	a.tracer, a.traced, a.capture = t.Tracer(), true, c.CaptureContent
	a.log = slog.New(tracing.Handler(a.log.Handler()))
	a.stops.add("tracing", func(ctx context.Context) error { t.Stop(ctx); return nil })
	return nil
}

// traceModels has the calls of models traced.
func (a *App) traceModels(o *llm.Options) { o.Tracer, o.CaptureContent = a.tracer, a.capture }

// received makes a span of each request to a webhook: its incidents' traces link to it.
// Whose trace the sender is in is not asked: who can send an alert could join any.
func received(tracer trace.Tracer, route string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(r.Context(), "POST "+route, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", http.MethodPost), attribute.String("http.route", route)))
		defer span.End()
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(s, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", s.status))
		if s.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(s.status))
		}
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// asked makes a span of one request to an agent.
func (m measurer) asked(ctx context.Context, window time.Duration, ask func(context.Context) (incident.Measurement, error)) (incident.Measurement, error) {
	ctx, span := m.tracer.Start(ctx, "measure", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("rpc.service", "kmend.AgentService"), attribute.String("rpc.method", "Measure"), attribute.String("server.address", m.where),
		attribute.Float64("kmend.window.seconds", window.Seconds())))
	defer span.End()
	got, err := ask(ctx)
	if err != nil {
		span.SetStatus(codes.Error, "no measurement")
		return got, err
	}
	span.SetAttributes(tracing.NodeKey.String(got.Node.Name))
	return got, nil
}
