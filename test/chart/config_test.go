package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// kmend itself takes the configuration of every set of values, with the runbooks and
// policies in it: `kmend config check` is run on what the pod would have below /etc/kmend.
func TestConfigCheck(t *testing.T) {
	kmend := filepath.Join(t.TempDir(), "kmend")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", kmend, "./cmd/kmend")
	build.Dir = Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building kmend: %v\n%s", err, out)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	write(t, kubeconfig, `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]}`)
	check := func(config string) (string, error) {
		c := exec.CommandContext(t.Context(), kmend, "config", "check", "--config", config)
		c.Env = append(os.Environ(), "KMEND_KUBERNETES_KUBECONFIG="+kubeconfig) // here is no pod's service account
		out, err := c.CombinedOutput()
		return string(out), err
	}
	for name, v := range sets(t) {
		etc := t.TempDir()
		mount(t, render(t, DefaultRelease(), v), etc)
		config := filepath.Join(etc, "config", "kmend.yaml")
		out, err := check(config)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		want := 1
		if name == "everything" {
			want = 3 // and a runbook, and a policy
		}
		if n := strings.Count(out, ": ok"); n != want {
			t.Errorf("%s: %d documents are ok, want %d:\n%s", name, n, want, out)
		}
		// It can fail.
		b, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		write(t, config, strings.Replace(string(b), "kind: Config", "kind: Config\ndryrun: false", 1))
		if out, err := check(config); err == nil || !strings.Contains(out, "dryrun") {
			t.Errorf("%s: with a misspelt field: %v\n%s", name, err, out)
		}
	}
}

// mount writes what the volumes of kmend's pod bring to /etc/kmend below etc: secrets have a
// value of their own for each key.
func mount(t *testing.T, r rendered, etc string) {
	t.Helper()
	var pod corev1.PodSpec
	for id, p := range r.pods() {
		if strings.HasPrefix(id, "StatefulSet/") || strings.HasPrefix(id, "Deployment/") {
			pod = p.Spec
		}
	}
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		below, ok := strings.CutPrefix(m.MountPath, "/etc/kmend/")
		if !ok {
			continue
		}
		dir, v := filepath.Join(etc, below), volumes[m.Name]
		switch {
		case v.ConfigMap != nil:
			for key, text := range one[*corev1.ConfigMap](r, v.ConfigMap.Name).Data {
				write(t, filepath.Join(dir, key), strings.ReplaceAll(text, "/etc/kmend", etc))
			}
		case v.Projected != nil:
			write(t, filepath.Join(dir, "ca.crt"), "a certificate")
			write(t, filepath.Join(dir, v.Projected.Sources[1].ServiceAccountToken.Path), "token of "+m.Name)
		case m.Name == "database":
			write(t, filepath.Join(dir, v.Secret.Items[0].Path), "postgres://kmend:secret@db.example/kmend")
		default:
			for key, text := range map[string]string{"webhook": "w", "api": "a", "bot-token": "xoxb-1", "app-token": "xapp-1", "ada": "ada's"} {
				write(t, filepath.Join(dir, key), text)
			}
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
