package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMentions: pages that code, configuration and scripts name are there, with their headings.
func TestMentions(t *testing.T) {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.go", "*.yaml", "*.json", "*.c", "*.h", "*.Dockerfile", "Makefile", ".ci", ".github", "*/run")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	all, seen := pages(t), 0
	mention := regexp.MustCompile(`(?:^|[\s("'\x60])(docs/[a-z/-]+\.md)(#[a-z_-]+)?`)
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		source, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mention.FindAllStringSubmatch(string(source), -1) {
			seen++
			i := slices.IndexFunc(all, func(p Page) bool { return p.Path == m[1] })
			if i < 0 {
				t.Errorf("%s: there is no %s", path, m[1])
			} else if m[2] != "" && !all[i].Anchors[m[2][1:]] {
				t.Errorf("%s: %s has no heading %s", path, m[1], m[2])
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d mentions found only", seen)
	}
}
