// Package release tests what `make release` makes: that its programs are the same
// bytes wherever they are built, static, and what their SBOMs say of them.
package release

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const version = "v0.0.0-test"

// released are the programs, by their path below dist.
var released = []string{"linux/amd64/kmend", "linux/amd64/kmend-agent", "linux/arm64/kmend", "linux/arm64/kmend-agent"}

func TestRelease(t *testing.T) {
	if os.Getenv("KMEND_RELEASE") == "" {
		t.Skip("it builds all programs twice, for two architectures: make release-check runs it")
	}
	root := t.TempDir()
	dist := filepath.Join(root, "dist")
	release(t, "../..", dist)
	t.Run("static", func(t *testing.T) { static(t, dist) })
	t.Run("sbom", func(t *testing.T) { sbom(t, dist) })
	t.Run("images", func(t *testing.T) { images(t, dist) })
	t.Run("pushed", func(t *testing.T) { pushed(t, dist) })
	elsewhere := filepath.Join(root, "another folder's", "copy-of-the-sources")
	t.Run("reproducible", func(t *testing.T) { reproducible(t, dist, elsewhere) })
	t.Run("goreleaser", func(t *testing.T) { goreleaser(t, dist, elsewhere) })
}

// release runs `make release` in a folder of the sources.
func release(t *testing.T, sources, dist string, env ...string) {
	t.Helper()
	begin := time.Now()
	t.Logf("make release in %s", sources)
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "release", "VERSION="+version, "DIST="+dist)
	cmd.Dir, cmd.Env = sources, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make release in %s: %v\n%s", sources, err, out)
	}
	t.Logf("done in %.0f s", time.Since(begin).Seconds())
}

// Another build, in a folder with another name and with nothing compiled before, is the same bytes.
func reproducible(t *testing.T, first, elsewhere string) {
	copySources(t, elsewhere)
	release(t, elsewhere, "dist", "GOCACHE="+t.TempDir())
	second := filepath.Join(elsewhere, "dist")
	for _, program := range released {
		for _, name := range []string{program, program + ".cdx.json"} {
			if !bytes.Equal(read(t, first, name), read(t, second, name)) {
				t.Errorf("%s is not the same in %s and %s; what of the folder, the time or the settings is in it?", name, first, second)
			}
		}
	}
	if !bytes.Equal(read(t, first, "SHA256SUMS"), read(t, second, "SHA256SUMS")) {
		t.Error("SHA256SUMS are not the same")
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = first
	out, err := check.CombinedOutput()
	if err != nil || bytes.Count(out, []byte(": OK\n")) != 2*len(released) {
		t.Errorf("sha256sum --check SHA256SUMS: %v\n%s", err, out)
	}
}

// copySources copies what is, or would be, committed.
func copySources(t *testing.T, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `git ls-files -z --cached --others --exclude-standard |
		while IFS= read -r -d '' f; do [ -e "$f" ] && printf '%s\0' "$f"; done | tar --null -T - -cf - | tar -xf - -C "$1"`, "copy", to)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copying the sources: %v\n%s", err, out)
	}
}

// They run on any Linux of their architecture, a scratch image among them.
func static(t *testing.T, dir string) {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	sources, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range released {
		path := filepath.Join(dir, program)
		arch := filepath.Base(filepath.Dir(program))
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machines[arch] {
			t.Errorf("%s is for %s", program, f.Machine)
		}
		if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC }) {
			t.Errorf("%s is linked dynamically: is CGO_ENABLED=0 gone?", program)
		}
		if f.Section(".debug_info") != nil || f.Section(".symtab") != nil {
			t.Errorf("%s is not stripped", program)
		}
		f.Close()
		b := read(t, dir, program)
		if bytes.Contains(b, []byte(sources+"/")) {
			t.Errorf("%s has the folder in it that it was built in", program)
		}
		if !bytes.Contains(b, []byte(version)) {
			t.Errorf("%s does not say its version", program)
		}
		t.Logf("%-23s %5.1f MB", program, float64(len(b))/1e6)
	}
}

// The SBOM of a program lists every module that its linker says is in it.
func sbom(t *testing.T, dir string) {
	for _, program := range released {
		info, err := buildinfo.ReadFile(filepath.Join(dir, program))
		if err != nil {
			t.Fatal(err)
		}
		var bom struct {
			BOMFormat string
			Metadata  struct {
				Component component
			}
			Components []component
		}
		if err := json.Unmarshal(read(t, dir, program+".cdx.json"), &bom); err != nil {
			t.Fatalf("%s.cdx.json: %v", program, err)
		}
		if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Name != info.Main.Path || bom.Metadata.Component.Version != version {
			t.Errorf("%s.cdx.json is a %q of %+v, want a CycloneDX of %s %s", program, bom.BOMFormat, bom.Metadata.Component, info.Main.Path, version)
		}
		has := map[string]string{}
		for _, c := range bom.Components {
			has[c.Name] = c.Version
		}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			if has[m.Path] != m.Version {
				t.Errorf("%s.cdx.json has %s in version %q, the program has %q", program, m.Path, has[m.Path], m.Version)
			}
			delete(has, m.Path)
		}
		if want := strings.TrimPrefix(info.GoVersion, "go"); strings.TrimPrefix(has["std"], "go") != want {
			t.Errorf("%s.cdx.json has Go's library in version %q, the program has %q", program, has["std"], want)
		}
		delete(has, "std")
		if len(info.Deps) < 10 || len(has) > 0 {
			t.Errorf("%s: the program has %d modules; of the SBOM only: %v", program, len(info.Deps), has)
		}
		t.Logf("%-23s %3d modules", program, len(info.Deps))
	}
}

type component struct{ Name, Version string }

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
