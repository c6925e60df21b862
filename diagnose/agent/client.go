package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/kmend/kmend/diagnose/agent/agentpb"
	"github.com/kmend/kmend/diagnose/agent/agentpb/agentpbconnect"
	"github.com/kmend/kmend/incident"
)

// ClientOptions says how to reach an agent.
type ClientOptions struct {
	// URL is https://HOST:PORT, http:// for an agent on a loopback address, or
	// unix:///PATH for the socket of the one on this node.
	URL       string
	CAFile    string // PEM; read again for every connection. Empty: the system's
	TokenFile string // bearer token; read again for every request. Empty: none
	// ServerName is what the agent's certificate is for, where that is not the
	// URL's host: agents found by pod address share one name.
	ServerName string
	// Timeout is how long an agent may take beyond the window.
	Timeout time.Duration
	// Certified is told until when the certificate of each new connection is good; may be nil.
	Certified func(notAfter time.Time)
}

// DefaultClientOptions waits 10 s beyond the window.
func DefaultClientOptions() ClientOptions { return ClientOptions{Timeout: 10 * time.Second} }

func (o ClientOptions) validate() error {
	if path, ok := strings.CutPrefix(o.URL, unixScheme); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("URL is %q; write for example unix://%s", o.URL, DefaultSocket)
		}
		return o.timeout()
	}
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("URL is %q; write for example https://10.0.0.7:9791", o.URL)
	case u.Scheme == "http" && !loopback(u.Host):
		return fmt.Errorf("URL is %q; http is allowed to a loopback address only, use https", o.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("URL has more than a scheme, a host and a path")
	}
	return o.timeout()
}

const unixScheme = "unix://"

func (o ClientOptions) timeout() error {
	if o.Timeout < 100*time.Millisecond || o.Timeout > 10*time.Minute {
		return fmt.Errorf("Timeout is %s; allowed: 100ms to 10m", o.Timeout)
	}
	return nil
}

// Client asks an agent over the network what Agent answers in this process.
type Client struct {
	o         ClientOptions
	transport *http.Transport
	rpc       agentpbconnect.AgentServiceClient
}

// NewClient makes a client; it connects with the first call.
func NewClient(o ClientOptions) (*Client, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("agent client: %w", err)
	}
	if _, err := o.tls(); err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // of http URLs, which are loopback
	t := &http.Transport{
		DialTLSContext:  o.dialTLS,
		Protocols:       &protocols,
		IdleConnTimeout: 90 * time.Second,
		// A node that vanished does not answer pings; without them a request on its
		// connection would hang until its deadline.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
	c := &Client{o: o, transport: t}
	base := o.URL
	if path, ok := strings.CutPrefix(o.URL, unixScheme); ok {
		base = "http://agent"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	c.rpc = agentpbconnect.NewAgentServiceClient(&http.Client{Transport: t}, base, connect.WithReadMaxBytes(16<<20))
	return c, nil
}

// dialTLS connects with the CA that is in the file now: a rotated one applies
// without a restart.
func (o ClientOptions) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	conf, err := o.tls()
	if err != nil {
		return nil, err
	}
	if o.Certified != nil {
		conf.VerifyConnection = func(s tls.ConnectionState) error {
			o.Certified(s.PeerCertificates[0].NotAfter)
			return nil
		}
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, network, addr)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" { // else it is the handshake's, which says what is wrong
		return nil, fmt.Errorf("%w; without a connection nothing is measured: look whether the agent is ready, and whether firewalls and "+
			"NetworkPolicies (egress of kmend, ingress of the agents) allow this port", err)
	}
	return conn, err
}

// tls is the configuration of one connection; without ServerName the dialer takes
// the address's host.
func (o ClientOptions) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: o.ServerName, NextProtos: []string{"h2"}}
	if o.CAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the agents' CA: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the agents' CA: %s holds no PEM certificate", o.CAFile)
	}
	return conf, nil
}

// Close lets the idle connections go.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Capabilities asks what the agent can do.
func (c *Client) Capabilities(ctx context.Context) (Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	r := connect.NewRequest(&agentpb.CapabilitiesRequest{ApiVersion: APIVersion})
	if err := c.authorise(r.Header()); err != nil {
		return Capabilities{}, err
	}
	resp, err := c.rpc.Capabilities(ctx, r)
	if err != nil {
		return Capabilities{}, c.explain(err)
	}
	if err := c.accept(resp.Msg.GetApiVersion()); err != nil {
		return Capabilities{}, err
	}
	can := capabilitiesFromWire(resp.Msg)
	can.Clock, _ = http.ParseTime(resp.Header().Get("Date")) // zero where it does not say
	return can, nil
}

// Measure asks the agent to measure. It waits for the window and Timeout.
func (c *Client) Measure(ctx context.Context, r Request, progress func(Progress)) (incident.Measurement, error) {
	window := r.Window
	switch {
	case !r.Since.IsZero():
		window = 0 // it is over
	case window == 0:
		window = defaultWindow
	}
	ctx, cancel := context.WithTimeout(ctx, window+c.o.Timeout)
	defer cancel()
	req := connect.NewRequest(requestToWire(r))
	if err := c.authorise(req.Header()); err != nil {
		return incident.Measurement{}, err
	}
	stream, err := c.rpc.Diagnose(ctx, req)
	if err != nil {
		return incident.Measurement{}, c.explain(err)
	}
	defer stream.Close()
	for stream.Receive() {
		msg := stream.Msg()
		if err := c.accept(msg.GetApiVersion()); err != nil {
			return incident.Measurement{}, err
		}
		switch e := msg.GetEvent().(type) {
		case *agentpb.DiagnoseResponse_Progress:
			if progress != nil {
				progress(progressFromWire(e.Progress))
			}
		case *agentpb.DiagnoseResponse_Measurement:
			m := fromWire(e.Measurement)
			if !r.Since.IsZero() && !m.Window.Recorded {
				return incident.Measurement{}, refuse(ErrVersion, "the agent at %s does not know of the past: upgrade the agent", c.o.URL)
			}
			return m, nil
		}
	}
	if err := stream.Err(); err != nil {
		return incident.Measurement{}, c.explain(err)
	}
	return incident.Measurement{}, fmt.Errorf("agent at %s ended without a measurement", c.o.URL)
}

func (c *Client) authorise(h http.Header) error {
	if c.o.TokenFile == "" {
		return nil
	}
	token, err := readToken(c.o.TokenFile)
	if err != nil {
		return err
	}
	h.Set("Authorization", "Bearer "+token)
	return nil
}

func (c *Client) accept(version uint32) error {
	if version >= minAPIVersion && version <= APIVersion {
		return nil
	}
	upgrade := "the agent"
	if version > APIVersion {
		upgrade = "kmend"
	}
	return refuse(ErrVersion, "the agent at %s answers in API version %d, and this kmend reads %d to %d: upgrade %s",
		c.o.URL, version, minAPIVersion, APIVersion, upgrade)
}

func (c *Client) explain(err error) error {
	err = fromConnect(err)
	if _, ok := errors.AsType[*refusal](err); ok {
		return err
	}
	switch connect.CodeOf(err) {
	case connect.CodeDeadlineExceeded:
		return fmt.Errorf("agent at %s did not answer in time (%s beyond the window): %w", c.o.URL, c.o.Timeout, err)
	case connect.CodeUnimplemented:
		return refuse(ErrVersion, "what answers at %s does not know this call: it is no kmend-agent, or one of another version", c.o.URL)
	}
	return fmt.Errorf("asking the agent at %s: %w", c.o.URL, err)
}
