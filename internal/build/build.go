// Package build says which build a program is: for `version`, for metrics and
// for an agent's answers. Both programs use it; it is in no stage of the flow.
package build

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Info is what a binary says of itself.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Built    string `json:"built,omitempty"` // time of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Of reads the build from the linker's version and the binary's build info.
func Of(linked string) Info {
	b := Info{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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

// Write prints it for a person, or as JSON.
func (b Info) Write(w io.Writer, program string, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(b)
	}
	line := program + " " + b.Version
	if b.Commit != "" {
		line += fmt.Sprintf(" (commit %.12s)", b.Commit)
	}
	_, err := fmt.Fprintf(w, "%s %s %s\n", line, b.Go, b.Platform)
	return err
}
