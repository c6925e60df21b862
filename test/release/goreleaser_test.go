package release

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// goreleaser makes, of a tag, what `make release` makes; everything but publishing it.
func goreleaser(t *testing.T, dist, sources string) {
	tools := t.TempDir()
	for name, variable := range map[string]string{"goreleaser": "GORELEASER", "cyclonedx-gomod": "CYCLONEDX"} {
		if os.Getenv(variable) == "" {
			t.Fatalf("no %s: `make release-check` builds it and sets %s", name, variable)
		}
		if err := os.Symlink(os.Getenv(variable), filepath.Join(tools, name)); err != nil {
			t.Fatal(err)
		}
	}
	in := func(program string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = sources
		cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "GORELEASER_CURRENT_TAG="+version,
			"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=kmend", "GIT_AUTHOR_EMAIL=kmend@example.com", "GIT_COMMITTER_NAME=kmend", "GIT_COMMITTER_EMAIL=kmend@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
		}
	}
	in("git", "init", "-q")
	in("git", "add", "-A")
	in("git", "commit", "-q", "-m", "what is released")
	in("git", "tag", version)
	in("git", "remote", "add", "origin", "https://github.com/kmend/kmend.git")
	in(filepath.Join(tools, "goreleaser"), "check")
	in(filepath.Join(tools, "goreleaser"), "release", "--clean", "--skip=publish,announce")
	// What it uploads under a name, it has under another on the disk.
	var artifacts []struct{ Name, Path string }
	if err := json.Unmarshal(read(t, sources, "dist/artifacts.json"), &artifacts); err != nil {
		t.Fatal(err)
	}
	path := map[string]string{}
	for _, a := range artifacts {
		path[a.Name] = a.Path
	}
	for _, program := range released {
		made := filepath.Base(program) + "-" + strings.ReplaceAll(filepath.Dir(program), "/", "-")
		for _, end := range []string{"", ".cdx.json"} {
			if !bytes.Equal(read(t, dist, program+end), read(t, sources, path[made+end])) {
				t.Errorf("goreleaser's %s is not make release's %s", made+end, program+end)
			}
		}
	}
}
