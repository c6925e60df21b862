package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/kmend/kmend/report/record"
)

// exportCmd is `kmend incidents export ID|FILE`.
type exportCmd struct {
	remote
	Incident string `arg:"" name:"id|file" help:"An incident of the server; or a file that kmend incidents show -o json wrote."`
	Format   string `short:"f" enum:"json,markdown" default:"json" help:"json or markdown (${default})."`
	Output   string `short:"o" type:"path" placeholder:"FILE" help:"Where it is written; default standard output."`
}

// Validate is bad usage.
func (c *exportCmd) Validate() error {
	if err := checkIDOrFile(c.Incident); err != nil {
		return err
	}
	return c.remote.Validate()
}

// Run writes the record.
func (c *exportCmd) Run(ctx context.Context, out *output) error {
	inc, err := c.incident(ctx, c.Incident)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if c.Format == "markdown" {
		err = record.Of(inc).Markdown(&b)
	} else {
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		err = enc.Encode(record.Of(inc))
	}
	if err != nil {
		return fmt.Errorf("writing the record of incident %s: %w", inc.ID, err)
	}
	if c.Output == "" {
		_, err = out.Stdout.Write(b.Bytes())
		return err
	}
	if err := os.WriteFile(c.Output, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the record: %w", err)
	}
	return nil
}
