package secret

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, value string) {
	t.Helper()
	// A new inode, as Kubernetes and every careful program replace a secret.
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func TestFileFollowsRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "  first\n")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := f.Matches("first"); !ok || err != nil {
		t.Fatalf("Matches(first) = %v, %v; want true", ok, err)
	}
	if ok, _ := f.Matches("first\n"); ok {
		t.Fatal("white space counts as part of what is presented")
	}
	write(t, path, "secnd") // same length
	if ok, _ := f.Matches("first"); ok {
		t.Fatal("the old secret still opens after rotation")
	}
	if ok, err := f.Matches("secnd"); !ok || err != nil {
		t.Fatalf("Matches(secnd) = %v, %v; want true", ok, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if ok, err := f.Matches("secnd"); ok || err == nil {
		t.Fatalf("removed secret: Matches = %v, %v; want an error", ok, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	empty, large := filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	write(t, empty, " \n")
	write(t, large, strings.Repeat("x", maxBytes+1))
	for path, want := range map[string]string{
		empty:                        "is empty",
		large:                        "more than 65536 bytes",
		filepath.Join(dir, "absent"): "no such file",
		dir:                          "directory",
	} {
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open(%s) = %v; want %q and the path", path, err, want)
		}
	}
}

func TestExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "x")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got := f.Exposed(); got != want {
			t.Errorf("Exposed with mode %o = %v; want %v", mode, got, want)
		}
	}
}

func TestBearer(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer  abc ": "abc", "Basic abc": "", "abc": "", "": "", "Bearer": "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		if got := Bearer(r); got != want {
			t.Errorf("Bearer(%q) = %q; want %q", header, got, want)
		}
	}
}
