package release

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmend/kmend/test/docs"
	"github.com/kmend/kmend/test/process"
)

// pushed types what docs/release.md says of images, for both programs, and asks a real
// registry what it has then.
func pushed(t *testing.T, dist string) {
	page, err := docs.Open("../..", "docs/release.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := startRegistry(t)
	home := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(".config/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	write(".config/containers/registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", registry))
	deb, err := process.Unpacked("buildah", "usr/bin/buildah")
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "HOME="+home, "TMPDIR="+home, "PATH="+filepath.Join(deb, "usr/bin")+":"+os.Getenv("PATH"),
		"LD_LIBRARY_PATH="+filepath.Join(deb, "usr/lib/x86_64-linux-gnu"), "CONTAINERS_CONF=/dev/null", "BUILDAH_ISOLATION=chroot",
		"CONTAINERS_STORAGE_CONF="+write("storage.conf", fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", home+"/root", home+"/run")))
	for _, program := range []string{"kmend", "kmend-agent"} {
		script := strings.NewReplacer("registry.example.com/kmend:", registry+"/"+program+":", "kmend.Dockerfile", program+".Dockerfile", " dist\n", " "+dist+"\n", "v1.2.3", version).
			Replace(page.Shown("buildah build"))
		if strings.Count(script, registry) != 3 || !strings.Contains(script, dist) {
			t.Fatalf("docs/release.md does not build and push: %s", script)
		}
		c := exec.CommandContext(t.Context(), "bash", "-euc", script)
		c.Dir, c.Env = "../..", env
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		var got index
		answer, err := process.HTTPClient().Do(manifest(t, registry, program))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK || json.Unmarshal(text, &got) != nil || len(got.Manifests) != 2 {
			t.Errorf("the registry has of %s: %s, %v, %s", program, answer.Status, err, text)
		}
	}
}

func manifest(t *testing.T, registry, program string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+registry+"/v2/"+program+"/manifests/"+version, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json")
	return r
}

// startRegistry runs Debian's docker-registry and returns HOST:PORT.
func startRegistry(t *testing.T) string {
	t.Helper()
	deb, err := process.Unpacked("docker-registry", "usr/bin/docker-registry")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := process.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", dir, addr), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Spec{Name: "docker-registry", Path: filepath.Join(deb, "usr/bin/docker-registry"), Args: []string{"serve", config}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	if err := p.WaitFor(t.Context(), func(context.Context) error {
		answer, err := process.HTTPClient().Get("http://" + addr + "/v2/")
		if err == nil {
			answer.Body.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return addr
}
