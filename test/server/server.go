// Package server runs the kmend program as a user would: a configuration file,
// `kmend serve`, and its HTTP API. The acceptance tests, the demo and the
// benchmarks use it; nothing of kmend itself is linked but its nouns.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/test/process"
)

// Options of a Server.
type Options struct {
	// Binary is the kmend program (bin/kmend).
	Binary string
	// Dir is where configuration, tokens and data go. It must exist; the caller
	// removes it. A second Start on the same Dir goes on with its data.
	Dir string
	// Addr to listen on; empty takes a free port of the loopback.
	Addr string
	// DryRun of the configuration: kmend's global switch.
	DryRun bool
	// Policies and Runbooks are files; none means those that ship.
	Policies, Runbooks []string
	// ApprovalExpiry is how long a plan waits for a person; 0 leaves kmend's default.
	ApprovalExpiry time.Duration
	// Window to measure; 0 leaves kmend's default of 3 s.
	Window time.Duration
	// MaxOpenIncidents before notifications are refused; 0 leaves kmend's default.
	MaxOpenIncidents int
	// Kubeconfig switches Kubernetes on; empty leaves it off.
	Kubeconfig string
	// Agent is asked over the network in place of the local agent; zero: the local one.
	Agent Agent
	// Others are further agents, each of a node of its own, with Agent's CA and token.
	Others []Agent
	// More is YAML that the configuration ends with.
	More string
	// Wrap is a command that runs the program ("prlimit --fsize=..."); nil for none.
	Wrap []string
	// Log gets what kmend logs; nil for none.
	Log io.Writer
}

// Agent is a kmend-agent that serves one node; with a Selector, one on every node,
// as the pods of a DaemonSet.
type Agent struct {
	Node, URL                       string
	Namespace, Selector, ServerName string
	Port                            int
	CAFile, TokenFile               string
}

// Server is a running `kmend serve`.
type Server struct {
	// Process is nil with At.
	*process.Process
	URL  string // http://127.0.0.1:PORT
	opts Options
	http *http.Client
}

// Files below Options.Dir.
const (
	configFile   = "kmend.yaml"
	webhookToken = "webhook.token"
	readToken    = "read.token"
	adminToken   = "approver.token"
)

// WebhookURL is where Alertmanager is to send its notifications.
func (s *Server) WebhookURL() string { return s.URL + "/webhook/alertmanager" }

// WebhookTokenFile is the token that the webhook asks for.
func (s *Server) WebhookTokenFile() string { return filepath.Join(s.opts.Dir, webhookToken) }

// ReadTokenFile is the token that the API asks for.
func (s *Server) ReadTokenFile() string { return filepath.Join(s.opts.Dir, readToken) }

// ApproverTokenFile is the token of the approver named "tester".
func (s *Server) ApproverTokenFile() string { return filepath.Join(s.opts.Dir, adminToken) }

// Start writes the configuration, runs `kmend serve` and returns when it is ready.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Addr == "" {
		addr, err := process.FreeAddr()
		if err != nil {
			return nil, err
		}
		o.Addr = addr
	}
	for _, name := range []string{webhookToken, readToken, adminToken} {
		if err := writeToken(filepath.Join(o.Dir, name)); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(o.Dir, configFile)
	if err := os.WriteFile(config, []byte(o.yaml()), 0o600); err != nil {
		return nil, fmt.Errorf("writing kmend's configuration: %w", err)
	}
	command := append(append([]string{}, o.Wrap...), o.Binary, "serve", "--config", config)
	p, err := process.Start(process.Spec{Name: "kmend serve", Path: command[0], Args: command[1:], Dir: o.Dir, Log: o.Log})
	if err != nil {
		return nil, err
	}
	s := &Server{Process: p, URL: "http://" + o.Addr, opts: o, http: process.HTTPClient()}
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("not ready after 20 s"))
	defer cancel()
	if err := p.WaitFor(ctx, s.Ready); err != nil {
		_ = p.Kill()
		return nil, err
	}
	return s, nil
}

// At is a server that somebody else runs, in a pod for example. Its tokens are in a
// folder, in the files that Start would write.
func At(url, dir string) *Server {
	return &Server{URL: url, opts: Options{Dir: dir}, http: process.HTTPClient()}
}

// Again starts the same server anew, on the same address and data.
func (s *Server) Again(ctx context.Context, change func(*Options)) (*Server, error) {
	o := s.opts
	if change != nil {
		change(&o)
	}
	return Start(ctx, o)
}

// Stop ends the server and waits for it.
func (s *Server) Stop() error { return s.Process.Stop(15 * time.Second) }

// Run runs another command of the kmend program, with the server's address and
// reading token as flags, and returns what it printed.
func (s *Server) Run(ctx context.Context, args ...string) (string, error) {
	return Run(ctx, s.opts.Binary, append(args, "--server", s.URL, "--token-file", s.ReadTokenFile())...)
}

// Approve runs `kmend approve ID` as the approver.
func (s *Server) Approve(ctx context.Context, id string, flags ...string) (string, error) {
	args := append([]string{"approve", id, "--server", s.URL, "--token-file", s.ApproverTokenFile()}, flags...)
	return Run(ctx, s.opts.Binary, args...)
}
