package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// yaml is kmend's configuration; by default that of standalone mode: one
// process, this node's own agent, no cluster.
func (o Options) yaml() string {
	path := func(name string) string { return filepath.Join(o.Dir, name) }
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: kmend.dev/v1
kind: Config
listen: %q
dataDir: %q
webhook:
  bearerTokenFile: %q
`, o.Addr, path("data"), path(webhookToken))
	if o.MaxOpenIncidents > 0 {
		fmt.Fprintf(&b, "  maxOpenIncidents: %d\n", o.MaxOpenIncidents)
	}
	if !o.DryRun { // on is kmend's default: it is not written, so that it is the default that is seen
		b.WriteString("dryRun: false\n")
	}
	fmt.Fprintf(&b, `api:
  tokenFile: %q
approvers:
  - name: tester
    tokenFile: %q
`, path(readToken), path(adminToken))
	b.WriteString(o.agents())
	if o.Kubeconfig != "" {
		fmt.Fprintf(&b, "kubernetes:\n  enabled: true\n  kubeconfig: %q\n", o.Kubeconfig)
	}
	duration(&b, "approvalExpiry: %s\n", o.ApprovalExpiry)
	duration(&b, "diagnose:\n  window: %s\n", o.Window)
	list(&b, "runbooks", o.Runbooks)
	list(&b, "policies", o.Policies)
	b.WriteString(o.More)
	return b.String()
}

func (o Options) agents() string {
	a := o.Agent
	if a == (Agent{}) {
		return "agents:\n  local: true\n"
	}
	var b strings.Builder
	b.WriteString("agents:\n  local: false\n")
	if a.Selector != "" {
		fmt.Fprintf(&b, "  kubernetes:\n    namespace: %q\n    selector: %q\n    port: %d\n", a.Namespace, a.Selector, a.Port)
	} else {
		b.WriteString("  static:\n")
		for _, s := range append([]Agent{a}, o.Others...) {
			fmt.Fprintf(&b, "    - node: %q\n      url: %q\n", s.Node, s.URL)
		}
	}
	fmt.Fprintf(&b, "  caFile: %q\n  tokenFile: %q\n  serverName: %q\n", a.CAFile, a.TokenFile, a.ServerName)
	return b.String()
}

func duration(b *strings.Builder, format string, d time.Duration) {
	if d > 0 {
		fmt.Fprintf(b, format, d)
	}
}

func list(b *strings.Builder, key string, files []string) {
	if len(files) == 0 {
		return
	}
	fmt.Fprintf(b, "%s:\n", key)
	for _, f := range files {
		fmt.Fprintf(b, "  - %q\n", f)
	}
}

// writeToken makes a random token; one that is there stays.
func writeToken(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing a token: %w", err)
	}
	_, err = f.WriteString(rand.Text() + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing a token: %w", err)
	}
	return nil
}
