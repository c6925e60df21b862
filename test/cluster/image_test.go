package cluster

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// The archive says the truth about itself: the manifest names files that are
// there, and the config the digest of the layer.
func TestImageIsConsistent(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!static"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.tar")
	if err := writeImage(path, image{name: "kmend.test/a:1", program: program, entrypoint: "a"}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, b)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		t.Fatalf("manifest %s: %v", files["manifest.json"], err)
	}
	m := manifest[0]
	var config struct {
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files[m.Config], &config); err != nil {
		t.Fatalf("config %q: %v", m.Config, err)
	}
	layer := files[m.Layers[0]]
	if m.RepoTags[0] != "kmend.test/a:1" || m.Config != sum(files[m.Config])+".json" || config.Rootfs.DiffIDs[0] != "sha256:"+sum(layer) {
		t.Errorf("manifest %+v, config %s", m, files[m.Config])
	}
	if got := untar(t, layer)["a"]; string(got) != "#!static" {
		t.Errorf("the layer's program is %q", got)
	}
}

func untar(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUpToDate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if upToDate(path, "k1") {
		t.Error("a program that was never built is up to date")
	}
	if err := markUpToDate(path, "k1"); err != nil {
		t.Fatal(err)
	}
	if upToDate(path, "k1") {
		t.Error("a program that was removed is up to date")
	}
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if !upToDate(path, "k1") || upToDate(path, "k2") {
		t.Error("want up to date with the inputs it was built of, and with no others")
	}
}

func TestQuota(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want float64
		err  bool
	}{
		{[]string{"20000", "100000"}, 0.2, false},
		{[]string{"-1", "100000"}, 0, false},
		{[]string{"max", "100000"}, 0, false},
		{[]string{"20000"}, 0, true},
		{[]string{"x", "100000"}, 0, true},
		{[]string{"20000", "0"}, 0, true},
	} {
		if got, err := quota(c.in); got != c.want || (err != nil) != c.err {
			t.Errorf("quota(%q) = %v, %v; want %v, error %v", c.in, got, err, c.want, c.err)
		}
	}
}
