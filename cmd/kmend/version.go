package main

import (
	"context"

	"github.com/kmend/kmend/internal/build"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// versionCmd is `kmend version`.
type versionCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// Run prints the version.
func (c *versionCmd) Run(_ context.Context, out *output) error {
	return build.Of(version).Write(out.Stdout, "kmend", c.Output == "json")
}
