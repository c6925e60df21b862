package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kmend/kmend/test/process"
)

// images builds both Dockerfiles for both platforms with buildah, which needs no
// daemon, and reads what came out.
func images(t *testing.T, dist string) {
	first, second := t.TempDir(), t.TempDir()
	for _, want := range []struct {
		program, user, port string
	}{
		{"kmend", "65532:65532", "9790/tcp"},
		{"kmend-agent", "0:0", "9791/tcp"},
	} {
		layout, index := build(t, want.program, dist, first)
		if len(index.Manifests) != 2 {
			t.Fatalf("image %s is for %d platforms: %+v", want.program, len(index.Manifests), index)
		}
		_, again := build(t, want.program, dist, second)
		for _, m := range index.Manifests {
			if !slices.Contains(again.Manifests, m) { // in whichever order: buildah has none
				t.Errorf("image %s: another build is other bytes: %+v and %+v", want.program, index, again)
			}
			name := m.Platform.OS + "/" + m.Platform.Architecture
			image := layout.image(t, m.Digest)
			c := image.config.Config
			if name != image.config.OS+"/"+image.config.Architecture || !slices.Contains(released, name+"/"+want.program) {
				t.Errorf("image %s for %s says %+v", want.program, name, image.config)
			}
			if c.User != want.user || !slices.Equal(c.Entrypoint, []string{"/" + want.program}) || !slices.Equal(c.Cmd, []string{"serve"}) || !slices.Equal(c.Env, []string{"PATH=/"}) ||
				len(c.ExposedPorts) != 1 || c.ExposedPorts[want.port] == nil {
				t.Errorf("image %s for %s runs %+v", want.program, name, c)
			}
			if l := "org.opencontainers.image."; c.Labels[l+"version"] != version || c.Labels[l+"title"] != want.program || c.Labels[l+"licenses"] == "" {
				t.Errorf("image %s for %s has the labels %v", want.program, name, c.Labels)
			}
			// Nothing but the program that was released, and what is in it.
			if got := slices.Sorted(maps.Keys(image.files)); !slices.Equal(got, []string{want.program, want.program + ".cdx.json"}) {
				t.Fatalf("image %s for %s has the files %v", want.program, name, got)
			}
			if !bytes.Equal(image.files[want.program], read(t, dist, name+"/"+want.program)) {
				t.Errorf("image %s for %s has another program than dist", want.program, name)
			}
			if m.Platform.Architecture == "amd64" {
				starts(t, want.program, c.User, image.files)
			}
		}
	}
}

// build makes an OCI layout of a Dockerfile in dir/PROGRAM; its index names an image for each platform.
func build(t *testing.T, program, dist, dir string) (layout, index) {
	t.Helper()
	deb, err := process.Unpacked("buildah", "usr/bin/buildah")
	if err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	buildah := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(deb, "usr/bin/buildah"), append([]string{
			"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}, args...)...)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(deb, "usr/lib/x86_64-linux-gnu"), "CONTAINERS_CONF=/dev/null", "TMPDIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("buildah %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	buildah("build", "--isolation", "chroot", "--format", "oci", "--timestamp", "0", "--platform", "linux/amd64,linux/arm64", "--signature-policy", policy,
		"--build-arg", "VERSION="+version, "--manifest", program, "-f", "../../deploy/image/"+program+".Dockerfile", dist)
	out := layout(filepath.Join(dir, program))
	buildah("manifest", "push", "--all", "--signature-policy", policy, program, "oci:"+string(out))
	var top, platforms index
	out.json(t, "index.json", &top)
	if len(top.Manifests) != 1 {
		t.Fatalf("%s/index.json names %d images", out, len(top.Manifests))
	}
	out.json(t, blob(top.Manifests[0].Digest), &platforms)
	return out, platforms
}

// starts runs an image's program with nothing but the image, as the image's user.
func starts(t *testing.T, program, user string, files map[string][]byte) {
	t.Helper()
	root := t.TempDir()
	if err := errors.Join(os.Chmod(root, 0o755), os.WriteFile(filepath.Join(root, program), files[program], 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/"+program, "version")
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if user != "0:0" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), program+" "+version+" ") {
		t.Errorf("in the image, %s version: %v, %s", program, err, out)
	}
}

// gunzipped is the layer's files; all are plain.
func gunzipped(t *testing.T, layer []byte, into map[string][]byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeDir {
			into[strings.TrimPrefix(h.Name, "/")] = b
		}
	}
}
