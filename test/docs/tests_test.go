package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile(`^(Test|Fuzz)[A-Z][A-Za-z0-9]*(…|/.*)?$`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// A test that a page names as the one that holds something is there.
func TestTests(t *testing.T) {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*_test.go")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		source, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(source), -1) {
			names = append(names, m[1])
		}
	}
	seen := 0
	for _, p := range pages(t) {
		for _, s := range p.Spans {
			if !testName.MatchString(s.Text) {
				continue
			}
			seen++
			name, _, _ := strings.Cut(s.Text, "/")
			if !exists(names, name) {
				t.Errorf("%s:%d: there is no test %s", p.Path, s.Line, s.Text)
			}
		}
	}
	if seen < 60 {
		t.Errorf("%d names of tests found only", seen)
	}
}

func exists(names []string, name string) bool {
	begin, open := strings.CutSuffix(name, "…")
	for _, n := range names {
		if n == name || open && strings.HasPrefix(n, begin) {
			return true
		}
	}
	return false
}
