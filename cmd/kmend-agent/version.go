package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// versionCmd is `kmend-agent version`.
type versionCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// build is what this binary says of itself.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Built    string `json:"built,omitempty"` // time of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// buildOf reads the build from the linker's version and the binary's build info.
func buildOf(linked string) build {
	b := build{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			case "vcs.time":
				b.Built = s.Value
			}
		}
		if b.Version == "" {
			b.Version = info.Main.Version
		}
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	return b
}

// Run prints the version.
func (c *versionCmd) Run(_ context.Context, out *output) error {
	b := buildOf(version)
	if c.Output == "json" {
		enc := json.NewEncoder(out.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(b)
	}
	line := "kmend-agent " + b.Version
	if b.Commit != "" {
		line += fmt.Sprintf(" (commit %.12s)", b.Commit)
	}
	_, err := fmt.Fprintf(out.Stdout, "%s %s %s\n", line, b.Go, b.Platform)
	return err
}
