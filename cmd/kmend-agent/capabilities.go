package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/internal/build"
)

// capabilitiesCmd is `kmend-agent capabilities`.
type capabilitiesCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// Run prints what this node can measure.
func (c *capabilitiesCmd) Run(ctx context.Context, out *output) error {
	o := agent.DefaultOptions()
	o.Version = build.Of(version).Version
	a, err := agent.New(o)
	if err != nil {
		return err
	}
	can, err := a.Capabilities(ctx)
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	if c.Output == "json" {
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(can)
	}
	fmt.Fprintf(out.Stdout, "node %s: kernel %s, %d CPUs, cgroup %s; agent %s, API %d, windows up to %s, %d at once\n",
		can.Node.Name, can.Node.Kernel, can.Node.CPUs, can.CgroupMode, can.AgentVersion, can.APIVersion, can.MaxWindow, can.MaxAtOnce)
	for _, p := range can.Probes {
		fmt.Fprintf(out.Stdout, "probe %s: %s", p.Name, p.Status)
		if p.Reason != "" {
			fmt.Fprintf(out.Stdout, ": %s", p.Reason)
		}
		fmt.Fprintln(out.Stdout)
	}
	return nil
}
