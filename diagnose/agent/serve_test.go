package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/kmend/kmend/bpf/threads"
	"github.com/kmend/kmend/diagnose/agent/agentpb"
	"github.com/kmend/kmend/diagnose/agent/agentpb/agentpbconnect"
	"github.com/kmend/kmend/incident"
	"github.com/prometheus/client_golang/prometheus"
)

// fakeProbe answers without a kernel: the transport does not care.
type fakeProbe struct{ measure func(context.Context) error }

func (f fakeProbe) Measure(ctx context.Context, _ subject, window time.Duration, _ *meter) (threads.Result, []outcome, error) {
	if f.measure != nil {
		if err := f.measure(ctx); err != nil {
			return threads.Result{}, nil, err
		}
	}
	th := threads.Thread{TID: 7, PID: 7, Comm: "a\x00\xffb", CgroupID: 1, WallNS: uint64(window), StateNS: [threads.NumStates]uint64{uint64(window)}}
	return threads.Result{Start: time.Now(), Window: window, Threads: []threads.Thread{th}, CPUs: 2}, nil, nil
}

func (fakeProbe) Memory() int64 { return 1 << 20 }
func (fakeProbe) Close() error  { return nil }

var self = Request{Target: incident.Target{PID: os.Getpid()}, Window: 500 * time.Millisecond}

type server struct {
	ca   *authority
	addr string
	stop context.CancelFunc
	done chan error
}

// newServer serves an agent with a fake probe over TLS.
func newServer(t *testing.T, probe fakeProbe, change func(*ServerOptions)) *server {
	t.Helper()
	registry := prometheus.NewRegistry()
	a := newAgent(t, func(o *Options) {
		o.open = func(*meter) (prober, error) { return probe, nil }
		o.Registerer, o.Version, o.MaxAtOnce = registry, "v1.2.3", 1
	})
	s := &server{ca: newAuthority(t), done: make(chan error, 1)}
	s.ca.issue()
	o := DefaultServerOptions()
	o.Listen, o.CertFile, o.KeyFile = "127.0.0.1:0", s.ca.file("tls.pem"), s.ca.file("tls.key")
	o.TokenFile, o.Gatherer = s.ca.write("token", "correct horse\n"[8:]), registry
	listening := make(chan net.Addr, 1)
	o.Listening = func(addr net.Addr) { listening <- addr }
	if change != nil {
		change(&o)
	}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.done <- Serve(ctx, a, o) }()
	select {
	case addr := <-listening:
		s.addr = addr.String()
	case err := <-s.done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		<-s.done
	})
	return s
}

func (s *server) client(t *testing.T, change func(*ClientOptions)) *Client {
	t.Helper()
	o := DefaultClientOptions()
	o.URL, o.CAFile, o.TokenFile = "https://"+s.addr, s.ca.file("ca.pem"), s.ca.file("token")
	if change != nil {
		change(&o)
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestOverTheNetwork(t *testing.T) {
	s := newServer(t, fakeProbe{}, nil)
	c := s.client(t, nil)
	can, err := c.Capabilities(t.Context())
	if err != nil || can.APIVersion != APIVersion || can.AgentVersion != "v1.2.3" || len(can.Probes) < 3 || can.MaxWindow.D() != time.Minute {
		t.Fatalf("%+v, %v", can, err)
	}
	var stages []Stage
	m, err := c.Measure(t.Context(), self, func(p Progress) { stages = append(stages, p.Stage) })
	if err != nil {
		t.Fatal(err)
	}
	if m.Ledger.States[incident.OnCPU] != 500 || m.Ledger.Top[0].Comm != "a??b" || m.Node.AgentVersion != "v1.2.3" || len(stages) != 3 {
		t.Errorf("%+v after %v", m, stages)
	}
	for _, c := range []struct {
		r    Request
		kind error
	}{
		{Request{}, ErrInvalid},
		{Request{Target: incident.Target{PID: 1 << 30}}, ErrNotFound},
		{Request{Target: self.Target, Window: time.Hour}, ErrInvalid},
	} {
		if _, err := s.client(t, nil).Measure(t.Context(), c.r, nil); !errors.Is(err, c.kind) {
			t.Errorf("%+v: %v, want %v", c.r, err, c.kind)
		}
	}
}

// Who asks learns until when the agent's certificate is good, of each new connection.
func TestCertified(t *testing.T) {
	s := newServer(t, fakeProbe{}, nil)
	var seen []time.Time
	for range 2 {
		c := s.client(t, func(o *ClientOptions) { o.Certified = func(notAfter time.Time) { seen = append(seen, notAfter) } })
		for range 2 {
			if _, err := c.Capabilities(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(seen) != 2 || time.Until(seen[0]) < 50*time.Minute || time.Until(seen[0]) > time.Hour || !seen[0].Equal(seen[1]) {
		t.Errorf("certificates are good until %v; want the same hour from now, once a connection", seen)
	}
}

func TestHealthAndMetricsNeedNoToken(t *testing.T) {
	s := newServer(t, fakeProbe{}, nil)
	c := s.client(t, nil)
	if _, err := c.Measure(t.Context(), self, nil); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/healthz": "ok", "/metrics": `kmend_agent_measurements_total{result="ok"} 1`} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr+path, nil)
		resp, err := (&http.Client{Transport: c.transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s: %s %s, want %q", path, resp.Status, b, want)
		}
	}
}

func TestTokens(t *testing.T) {
	s := newServer(t, fakeProbe{}, nil)
	for name, file := range map[string]string{"none": "", "wrong": s.ca.write("wrong", "correct")} {
		c := s.client(t, func(o *ClientOptions) { o.TokenFile = file })
		if _, err := c.Capabilities(t.Context()); !errors.Is(err, ErrUnauthenticated) || !strings.Contains(err.Error(), "token file") {
			t.Errorf("%s token: %v", name, err)
		}
		if _, err := c.Measure(t.Context(), self, nil); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s token: %v", name, err)
		}
	}
	// A rotated token applies to both sides at once; an agent without one lets nobody in.
	c := s.client(t, nil)
	s.ca.write("token", "another")
	if _, err := c.Capabilities(t.Context()); err != nil {
		t.Errorf("rotated token: %v", err)
	}
	other := s.client(t, func(o *ClientOptions) { o.TokenFile = s.ca.write("copy", "another") })
	s.ca.write("token", "\n")
	if _, err := other.Capabilities(t.Context()); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("empty token file: %v", err)
	}
	if _, err := c.Capabilities(t.Context()); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("empty token file of the client: %v", err)
	}
}

// Who checks tokens sees each request's, and its words reach the caller; without
// its leave nothing is answered.
func TestCheckToken(t *testing.T) {
	s := newServer(t, fakeProbe{}, func(o *ServerOptions) {
		o.TokenFile = ""
		o.CheckToken = func(_ context.Context, token string) error {
			if token != "horse" {
				return fmt.Errorf("%d characters, and none may ask: run kmend as another", len(token))
			}
			return nil
		}
	})
	if _, err := s.client(t, nil).Measure(t.Context(), self, nil); err != nil {
		t.Error(err)
	}
	for file, text := range map[string]string{"": "0 characters, and none may ask: run kmend as another", s.ca.write("wrong", "correct"): "7 characters"} {
		c := s.client(t, func(o *ClientOptions) { o.TokenFile = file })
		_, capErr := c.Capabilities(t.Context())
		_, err := c.Measure(t.Context(), self, nil)
		for _, err := range []error{capErr, err} {
			if !errors.Is(err, ErrUnauthenticated) || !strings.Contains(err.Error(), text) {
				t.Errorf("%v, want %q", err, text)
			}
		}
	}
}

// An agent that knows its node's name does not look at what is on another: here the
// process is there, and would be measured.
func TestTargetsOnOtherNodes(t *testing.T) {
	loaded := false
	open := func(*meter) (prober, error) { loaded = true; return fakeProbe{}, nil }
	a := newAgent(t, func(o *Options) { o.open, o.NodeName = open, "n1.example.com" })
	for _, past := range []time.Time{{}, time.Now().Add(-time.Minute)} {
		_, err := a.Measure(t.Context(), Request{Target: incident.Target{PID: os.Getpid(), Node: "n2"}, Window: 100 * time.Millisecond, Since: past}, nil)
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `on node "n2", and this is the agent of node "n1.example.com"`) {
			t.Errorf("since %v: %v", past, err)
		}
	}
	if loaded {
		t.Error("the probe was loaded for a target on another node")
	}
	unnamed := newAgent(t, func(o *Options) { o.open = open })
	for node, a := range map[string]*Agent{"": a, "n1": a, "N1.example.com": a, "n2": unnamed} {
		r := Request{Target: incident.Target{PID: os.Getpid(), Node: node}, Window: 100 * time.Millisecond}
		if _, err := a.Measure(t.Context(), r, nil); err != nil {
			t.Errorf("node %q: %v", node, err)
		}
	}
}

func TestVersionsThatDoNotMeet(t *testing.T) {
	s := newServer(t, fakeProbe{}, nil)
	c := s.client(t, nil)
	for version, text := range map[uint32]string{0: "upgrade kmend", APIVersion + 1: "upgrade the agent"} {
		req := requestToWire(self)
		req.ApiVersion = version
		r := connect.NewRequest(req)
		if err := c.authorise(r.Header()); err != nil {
			t.Fatal(err)
		}
		stream, err := c.rpc.Diagnose(t.Context(), r)
		if err == nil {
			stream.Receive()
			err = stream.Err()
			stream.Close()
		}
		if err := fromConnect(err); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), text) {
			t.Errorf("asked in version %d: %v, want %q", version, err, text)
		}
	}
	// An agent of tomorrow and one of yesterday.
	for version, text := range map[uint32]string{APIVersion + 1: "upgrade kmend", 0: "upgrade the agent"} {
		_, h := agentpbconnect.NewAgentServiceHandler(otherAgent{version: version})
		srv := httptest.NewUnstartedServer(h)
		srv.EnableHTTP2 = true
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
		old := s.client(t, func(o *ClientOptions) { o.URL = srv.URL })
		_, capErr := old.Capabilities(t.Context())
		_, err := old.Measure(t.Context(), self, nil)
		for _, err := range []error{capErr, err} {
			if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), text) {
				t.Errorf("agent of version %d: %v, want %q", version, err, text)
			}
		}
		old.Close()
		srv.Close()
	}
}

type otherAgent struct {
	agentpbconnect.UnimplementedAgentServiceHandler
	version uint32
}

func (o otherAgent) Capabilities(context.Context, *connect.Request[agentpb.CapabilitiesRequest]) (*connect.Response[agentpb.CapabilitiesResponse], error) {
	return connect.NewResponse(&agentpb.CapabilitiesResponse{ApiVersion: o.version}), nil
}

func (o otherAgent) Diagnose(_ context.Context, _ *connect.Request[agentpb.DiagnoseRequest], out *connect.ServerStream[agentpb.DiagnoseResponse]) error {
	return out.Send(&agentpb.DiagnoseResponse{ApiVersion: o.version, Event: &agentpb.DiagnoseResponse_Measurement{}})
}

func TestAgentsThatDoNotAnswer(t *testing.T) {
	never := fakeProbe{func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}
	s := newServer(t, never, nil)
	c := s.client(t, func(o *ClientOptions) { o.Timeout = 300 * time.Millisecond })
	if _, err := c.Measure(t.Context(), self, nil); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("an agent that is slow: %v", err)
	}
	gone := s.client(t, func(o *ClientOptions) { o.URL = "https://127.0.0.1:1" })
	for _, want := range []string{"asking the agent at https://127.0.0.1:1", "connection refused", "NetworkPolicies (egress of kmend, ingress of the agents)"} {
		if _, err := gone.Measure(t.Context(), self, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("an agent that is absent: %v; want %s", err, want)
		}
	}
	stranger := s.client(t, func(o *ClientOptions) { o.CAFile = "" })
	if _, err := stranger.Capabilities(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "NetworkPolicies") {
		t.Errorf("an agent whose certificate is not known: %v", err)
	}
}

// A caller that gives up ends the measurement: the place is free again.
func TestCallerGoesAway(t *testing.T) {
	ended := make(chan struct{}, 1)
	s := newServer(t, fakeProbe{func(ctx context.Context) error { <-ctx.Done(); ended <- struct{}{}; return context.Cause(ctx) }}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.client(t, nil).Measure(ctx, self, func(p Progress) {
		if p.Stage == Measuring {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) && connect.CodeOf(err) != connect.CodeCanceled {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the measurement goes on without anybody waiting for it")
	}
}

func TestStopLetsAMeasurementEnd(t *testing.T) {
	var s *server
	s = newServer(t, fakeProbe{func(ctx context.Context) error {
		s.stop()
		select {
		case <-time.After(300 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}}, nil)
	if _, err := s.client(t, nil).Measure(t.Context(), self, nil); err != nil {
		t.Errorf("a measurement under way at the stop: %v", err)
	}
	err := <-s.done
	s.done <- nil
	if err != nil {
		t.Errorf("stop: %v", err)
	}
}

// Old connections end, new ones see the rotated certificate.
func TestCertificateRotates(t *testing.T) {
	s := newServer(t, fakeProbe{}, func(o *ServerOptions) { o.MaxConnAge = time.Second })
	c := s.client(t, nil)
	var serial atomic.Int64
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{TLSHandshakeDone: func(st tls.ConnectionState, err error) {
		if err == nil {
			serial.Store(st.PeerCertificates[0].SerialNumber.Int64())
		}
	}})
	ask := func() {
		t.Helper()
		if _, err := c.Capabilities(ctx); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	if serial.Load() != 2 {
		t.Fatalf("serial %d", serial.Load())
	}
	s.ca.write("tls.pem", "not yet complete")
	c.transport.CloseIdleConnections()
	ask() // a pair that cannot be read leaves the last one in use
	next := s.ca.issue()
	for end := time.Now().Add(10 * time.Second); serial.Load() != next; time.Sleep(50 * time.Millisecond) {
		ask()
		if time.Now().After(end) {
			t.Fatalf("serial %d, want %d: the connection is never renewed", serial.Load(), next)
		}
	}
}

// A client that runs on trusts the CA that is in the file now, and no other.
func TestCARotates(t *testing.T) {
	s := newServer(t, fakeProbe{}, nil)
	c := s.client(t, nil)
	ask := func() error {
		c.transport.CloseIdleConnections()
		_, err := c.Capabilities(t.Context())
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(s.ca.file("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(newAuthority(t).file("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.ca.write("ca.pem", string(theirs))
	if err := ask(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("with the CA of somebody else: %v", err)
	}
	s.ca.write("ca.pem", "half")
	if err := ask(); err == nil || !strings.Contains(err.Error(), "holds no PEM certificate") {
		t.Errorf("with a CA that cannot be read: %v", err)
	}
	s.ca.write("ca.pem", string(theirs)+string(ours))
	if err := ask(); err != nil {
		t.Errorf("with the new CA beside the old one: %v", err)
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	a := newAgent(t, func(o *Options) { o.open = func(*meter) (prober, error) { return fakeProbe{}, nil } })
	for _, c := range []struct {
		change func(*ServerOptions)
		text   string
	}{
		{func(o *ServerOptions) {}, "TLS is required"},
		{func(o *ServerOptions) { o.CertFile, o.KeyFile = "a", "b" }, "TokenFile is empty"},
		{func(o *ServerOptions) {
			o.CertFile, o.KeyFile, o.TokenFile = "a", "b", "c"
			o.CheckToken = func(context.Context, string) error { return nil }
		}, "TokenFile and CheckToken"},
		{func(o *ServerOptions) { o.InsecureLoopback = true }, "only a loopback address"},
		{func(o *ServerOptions) { o.InsecureLoopback, o.Listen = true, "0.0.0.0:0" }, "only a loopback address"},
		{func(o *ServerOptions) { o.InsecureLoopback, o.Listen, o.CertFile = true, "[::1]:0", "x" }, "choose one"},
		{func(o *ServerOptions) { o.CertFile, o.KeyFile, o.TokenFile = "a", "b", "/nonexistent" }, "/nonexistent"},
		{func(o *ServerOptions) { o.InsecureLoopback, o.Listen, o.MaxConnAge = true, "127.0.0.1:0", 0 }, "MaxConnAge"},
	} {
		o := DefaultServerOptions()
		c.change(&o)
		if err := Serve(t.Context(), a, o); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v, want %q", err, c.text)
		}
	}
	for url, text := range map[string]string{
		"": "write for example", "ftp://x": "write for example", "http://10.0.0.7:9791": "use https", "https://u:p@h": "more than a scheme",
	} {
		o := DefaultClientOptions()
		o.URL = url
		if _, err := NewClient(o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want %q", url, err, text)
		}
	}
	for text, change := range map[string]func(*Options){
		"MaxAtOnce is 0": func(o *Options) { o.MaxAtOnce = 0 }, "MaxWindow": func(o *Options) { o.MaxWindow = time.Hour },
		"Budget.CPU": func(o *Options) { o.Budget.CPU = 0 }, "Proc is empty": func(o *Options) { o.Proc = "" }, "Logger is nil": func(o *Options) { o.Logger = nil },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}
