package chain

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
	"golang.org/x/sys/unix"
)

// service is one of the chain's processes: it takes a request, works, asks the
// next one and answers. It is traced as a service with OpenTelemetry's SDK is.
type service struct {
	name   string
	next   string // URL; "": the last
	work   time.Duration
	tracer api.Tracer
	carry  propagation.TraceContext
	client *http.Client
}

// RunIfAsked makes this process a service where Start started it as one, and never
// returns then. A program that calls Start calls it first.
func RunIfAsked() {
	name := os.Getenv(envName)
	if name == "" {
		return
	}
	if err := serve(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// What a service is told by its environment.
const (
	envName   = "KMEND_CHAIN_SERVICE"
	envListen = "KMEND_CHAIN_LISTEN"
	envNext   = "KMEND_CHAIN_NEXT"
	envWork   = "KMEND_CHAIN_WORK"
	envOTLP   = "KMEND_CHAIN_OTLP" // HOST:PORT; "": not traced
)

func serve(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	work, err := time.ParseDuration(os.Getenv(envWork))
	if err != nil {
		return fmt.Errorf("reading %s: %w", envWork, err)
	}
	provider, err := traced(ctx, name, os.Getenv(envOTLP))
	if err != nil {
		return err
	}
	s := &service{name: name, next: os.Getenv(envNext), work: work, tracer: provider.Tracer("chain"),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	l, err := net.Listen("tcp", os.Getenv(envListen))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { <-ctx.Done(); _ = server.Close() }()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// traced exports spans every fifth of a second, with what the SDK's detectors and
// an operator would say of the resource.
func traced(ctx context.Context, name, otlp string) (*trace.TracerProvider, error) {
	if otlp == "" {
		return trace.NewTracerProvider(trace.WithSampler(trace.NeverSample())), nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(otlp), otlptracehttp.WithInsecure())
	if err != nil {
		return nil, fmt.Errorf("exporting traces: %w", err)
	}
	described, err := resource.New(ctx, resource.WithHost(), resource.WithProcessPID(), resource.WithAttributes(attribute.String("service.name", name)))
	if err != nil {
		return nil, fmt.Errorf("describing the service: %w", err)
	}
	return trace.NewTracerProvider(trace.WithBatcher(exporter, trace.WithBatchTimeout(200*time.Millisecond)), trace.WithResource(described)), nil
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, span := s.tracer.Start(s.carry.Extract(r.Context(), propagation.HeaderCarrier(r.Header)), "GET "+r.URL.Path, api.WithSpanKind(api.SpanKindServer))
	defer span.End()
	burn(s.work)
	if s.next != "" {
		if err := s.ask(ctx); err != nil {
			span.SetStatus(codes.Error, "the next one")
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	_, _ = io.WriteString(w, s.name+"\n")
}

// ask asks the next service.
func (s *service) ask(ctx context.Context) error {
	ctx, span := s.tracer.Start(ctx, "GET", api.WithSpanKind(api.SpanKindClient))
	defer span.End()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.next, nil)
	if err != nil {
		return err
	}
	s.carry.Inject(ctx, propagation.HeaderCarrier(req.Header))
	res, err := s.client.Do(req)
	if err == nil {
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
	}
	if err != nil {
		span.SetStatus(codes.Error, "no answer")
	}
	return err
}

// burn takes CPU time.
func burn(d time.Duration) {
	for begin := cpu(); cpu()-begin < d; {
		for i := range 1000 {
			_ = i * i
		}
	}
}

// cpu is what this thread has used.
func cpu() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}
