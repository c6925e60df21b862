package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/kmend/kmend/diagnose/agent/agentpb/agentpbconnect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ServerOptions says how an agent is reached.
type ServerOptions struct {
	Listen    string // HOST:PORT
	CertFile  string // PEM, with its chain; read again when it changes
	KeyFile   string
	TokenFile string // bearer token that callers must have
	// CheckToken lets callers in by their bearer tokens, in place of TokenFile:
	// package tokenreview has one. An error is told to the caller.
	CheckToken       func(ctx context.Context, token string) error
	InsecureLoopback bool // without TLS and token, on a loopback address only
	// MaxConnAge ends connections gently, so that a rotated certificate reaches
	// callers that never disconnect.
	MaxConnAge time.Duration
	Grace      time.Duration // of a stop: measurements under way may end
	Gatherer   prometheus.Gatherer
	Logger     *slog.Logger
	// Listening is told the address that Listen became; may be nil.
	Listening func(net.Addr)
}

// DefaultServerOptions listens on port 9791 of every address.
func DefaultServerOptions() ServerOptions {
	return ServerOptions{
		Listen:     ":9791",
		MaxConnAge: 10 * time.Minute,
		Grace:      10 * time.Second,
		Gatherer:   prometheus.NewRegistry(),
		Logger:     slog.New(slog.DiscardHandler),
	}
}

func (o ServerOptions) validate() error {
	switch {
	case o.InsecureLoopback && !loopback(o.Listen):
		return fmt.Errorf("Listen is %q; without TLS only a loopback address is allowed, for example 127.0.0.1:9791", o.Listen)
	case o.InsecureLoopback && (o.CertFile != "" || o.KeyFile != ""):
		return errors.New("InsecureLoopback and a certificate are both set; choose one")
	case !o.InsecureLoopback && (o.CertFile == "" || o.KeyFile == ""):
		return errors.New("CertFile or KeyFile is empty; TLS is required, except with InsecureLoopback on a loopback address")
	case o.TokenFile != "" && o.CheckToken != nil:
		return errors.New("TokenFile and CheckToken are both set; choose one")
	case !o.InsecureLoopback && o.TokenFile == "" && o.CheckToken == nil:
		return errors.New("TokenFile is empty; callers must have a bearer token, except with InsecureLoopback on a loopback address")
	case o.MaxConnAge < time.Second:
		return fmt.Errorf("MaxConnAge is %s; allowed: 1s and more", o.MaxConnAge)
	case o.Grace < 0:
		return fmt.Errorf("Grace is %s; allowed: 0 and more", o.Grace)
	case o.Logger == nil || o.Gatherer == nil:
		return errors.New("Logger or Gatherer is nil")
	}
	return nil
}

// loopback reports whether HOST:PORT is on this machine alone, by its address.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Serve answers until ctx ends, then stops taking requests, waits Grace for the
// measurements under way and returns nil.
func Serve(ctx context.Context, a *Agent, o ServerOptions) error {
	if err := o.validate(); err != nil {
		return fmt.Errorf("agent server: %w", err)
	}
	mux := http.NewServeMux()
	var api http.Handler = NewHandler(a)
	if o.TokenFile != "" {
		if _, err := readToken(o.TokenFile); err != nil {
			return fmt.Errorf("agent server: %w", err)
		}
		api = guarded(fromFile(o.TokenFile), api)
	}
	if o.CheckToken != nil {
		api = guarded(o.CheckToken, api)
	}
	mux.Handle("/"+agentpbconnect.AgentServiceName+"/", aged(o.MaxConnAge, api))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{}))

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(o.InsecureLoopback)
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s := &http.Server{
		Handler:           mux,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return stopping },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, bornKey{}, time.Now())
		},
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("agent server: %w", err)
	}
	if !o.InsecureLoopback {
		certs := &certificate{certFile: o.CertFile, keyFile: o.KeyFile}
		if _, err := certs.get(nil); err != nil {
			return errors.Join(fmt.Errorf("agent server: %w", err), ln.Close())
		}
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: certs.get}
	}
	o.Logger.Info("agent listening", "address", ln.Addr().String(), "tls", !o.InsecureLoopback)
	if o.Listening != nil {
		o.Listening(ln.Addr())
	}
	return run(ctx, s, ln, o.Grace, stop)
}

func run(ctx context.Context, s *http.Server, ln net.Listener, grace time.Duration, cut func()) error {
	ended := make(chan error, 1)
	go func() {
		if s.TLSConfig != nil {
			ended <- s.ServeTLS(ln, "", "")
			return
		}
		ended <- s.Serve(ln)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("agent server: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := s.Shutdown(limit)
	cut() // measurements that are still under way end now
	if err != nil {
		err = s.Close()
	}
	if end := <-ended; err == nil && !errors.Is(end, http.ErrServerClosed) {
		err = fmt.Errorf("agent server: %w", end)
	}
	return err
}

type bornKey struct{}

// aged asks the client to go on over a new connection once this one is old: on
// HTTP/2 net/http makes GOAWAY of it, and streams under way end in peace.
func aged(limit time.Duration, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if born, ok := r.Context().Value(bornKey{}).(time.Time); ok && time.Since(born) > limit {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// certificate is a key pair that is read again when its files change.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	pair    *tls.Certificate
	changed [2]time.Time
}

// get reads the pair if it changed. A pair that cannot be read (it is being
// replaced) leaves the last one in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := modified(c.certFile, c.keyFile)
	if err == nil && c.pair != nil && changed == c.changed {
		return c.pair, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			c.pair, c.changed = &pair, changed
		}
	}
	if c.pair == nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return c.pair, nil
}

func modified(files ...string) (at [2]time.Time, err error) {
	for i, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return at, err
		}
		at[i] = info.ModTime()
	}
	return at, nil
}
