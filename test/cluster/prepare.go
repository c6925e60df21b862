package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kmend/kmend/test/process"
)

const (
	kubernetesVersion = "v1.35.4" // that of kubeone/go.mod
	pauseImage        = "kmend.test/pause:1"
	// BurnImage is the image of /burn, which keeps BURN_THREADS threads busy.
	BurnImage = "kmend.test/burn:1"
)

// Files are what a node is made of, all below the cache folder.
type Files struct {
	Cache   string // the cache folder
	Kubeone string // program: kubeone etcd|kube-apiserver|...|kubelet
	PATH    string // folders with containerd, its shims, ctr and runc
	CNI     string // folder with the CNI plugins
	Images  []string
}

// save and loadFiles hand Files from the outer process to the inner one.
func (f Files) save(dir string) error {
	b, err := json.Marshal(f)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "files.json"), b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("handing the files to the tests: %w", err)
	}
	return nil
}

func loadFiles(dir string) (f Files, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "files.json"))
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return Files{}, fmt.Errorf("taking the files from the outer process: %w", err)
	}
	return f, nil
}

// Prepare fetches and builds what is missing of Files and writes a line to
// progress for each thing that takes long: the first build of the Kubernetes
// servers takes about 9 minutes on 2 cores and needs a Go module proxy, later
// calls some milliseconds and no network.
func Prepare(ctx context.Context, progress io.Writer) (Files, error) {
	kubeone, err := Kubeone(ctx, progress)
	if err != nil {
		return Files{}, err
	}
	cache, err := process.Cache()
	if err != nil {
		return Files{}, err
	}
	dirs, err := debs(ctx, progress, "containerd", "runc", "containernetworking-plugins")
	if err != nil {
		return Files{}, err
	}
	f := Files{Cache: cache, Kubeone: kubeone,
		PATH: filepath.Join(dirs[0], "usr/bin") + ":" + filepath.Join(dirs[1], "usr/sbin"),
		CNI:  filepath.Join(dirs[2], "usr/lib/cni")}
	f.Images, err = images(ctx, filepath.Join(cache, "cluster"))
	return f, err
}

// Kubeone builds the program that is etcd and every Kubernetes server, unless
// the one in the cache is current, and returns its path.
func Kubeone(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := process.Cache()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "cluster", "bin", "kubeone")
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(cache, "cluster", ".lock"), true)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	src := filepath.Join(sourceDir(), "kubeone")
	flags := "-s -w -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
		" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35"
	key, err := digest([]string{filepath.Join(src, "go.mod"), filepath.Join(src, "go.sum"), filepath.Join(src, "main.go")}, flags, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	if upToDate(bin, key) {
		return bin, nil
	}
	fmt.Fprintf(progress, "cluster: building Kubernetes %s and etcd into one program, about 9 minutes the first time\n", kubernetesVersion)
	if err := build(ctx, progress, src, bin, flags, "."); err != nil {
		return "", err
	}
	return bin, markUpToDate(bin, key)
}

// build runs `go build` and moves the program to its place in one step, so that
// one that runs keeps its file.
func build(ctx context.Context, progress io.Writer, dir, out, ldflags, pkg string) error {
	tmp := fmt.Sprintf("%s.%d", out, os.Getpid())
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", ldflags, "-o", tmp, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, io.MultiWriter(&log, progress)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", filepath.Base(out), err, tail(log.String(), 20))
	}
	if err := os.Rename(tmp, out); err != nil {
		return fmt.Errorf("building %s: %w", filepath.Base(out), err)
	}
	return nil
}

// images builds the archives of the images that pods can use. The program is
// built on every call: with a warm build cache that is as fast as finding out.
func images(ctx context.Context, dir string) ([]string, error) {
	lock, err := lockFile(filepath.Join(dir, ".lock"), true)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	bin := filepath.Join(dir, "bin", "burn")
	if err := build(ctx, io.Discard, sourceDir(), bin, "-s -w", "./burn"); err != nil {
		return nil, err
	}
	key, err := digest([]string{bin, filepath.Join(sourceDir(), "image.go")})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, img := range []struct{ name, entrypoint string }{{pauseImage, "pause"}, {BurnImage, "burn"}} {
		path := filepath.Join(dir, img.entrypoint+".tar")
		out = append(out, path)
		if upToDate(path, key) {
			continue
		}
		if err := writeImage(path, image{name: img.name, program: bin, entrypoint: img.entrypoint, env: []string{"PATH=/"}, tmp: true}); err != nil {
			return nil, err
		}
		if err := markUpToDate(path, key); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// debs returns the folders into which test/setup/debs unpacked the packages.
func debs(ctx context.Context, progress io.Writer, packages ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(sourceDir(), "..", "setup", "debs"), packages...)
	var log bytes.Buffer
	cmd.Stderr = io.MultiWriter(&log, progress)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("fetching Debian packages: %w\n%s", err, tail(log.String(), 5))
	}
	dirs := strings.Fields(string(out))
	if len(dirs) != len(packages) {
		return nil, fmt.Errorf("fetching Debian packages: %d folders for %d packages: %q", len(dirs), len(packages), out)
	}
	return dirs, nil
}

// sourceDir is the folder of this package's source, wherever the test runs.
func sourceDir() string {
	_, file, _, ok := runtime.Caller(0)
	if ok && filepath.IsAbs(file) {
		return filepath.Dir(file)
	}
	// built with -trimpath: ask the go command
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/kmend/kmend/test/cluster").Output()
	if err != nil {
		return "."
	}
	return strings.TrimSpace(string(out))
}

// tail is the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
