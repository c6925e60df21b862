package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/test/server"
)

// The release's names are others than those of deploy/rbac, which other tests apply.
const (
	release          = "kmend-chart"
	releaseNamespace = "kmend-system"
)

// installation is a release of the chart on the node.
type installation struct {
	*testing.T
	release, namespace string
	kmend, agent       *corev1.Pod
	tokens             string // folder of files as server.At reads them
}

// install applies what the chart renders with values of testdata, and waits until kmend
// and the agent are ready. When the test ends it is gone.
func install(t *testing.T, values string) *installation {
	t.Helper()
	node.Need(t)
	load(t, "kmend", "kmend.test/kmend:chart")
	load(t, "kmend-agent", "kmend.test/kmend-agent:chart")
	for _, o := range append([]*unstructured.Unstructured{volume(t, release)}, rendered(t, values)...) {
		create(t, o)
	}
	return installed(t, release, releaseNamespace)
}

// installed waits until kmend and the agent of a release are ready.
func installed(t *testing.T, release, namespace string) *installation {
	t.Helper()
	c := &installation{T: t, release: release, namespace: namespace, tokens: t.TempDir()}
	t.Cleanup(func() {
		if t.Failed() {
			c.logs()
		}
	})
	began := time.Now()
	c.agent = c.ready("agent")
	t.Logf("the agent is ready after %.1f s", time.Since(began).Seconds())
	c.kmend = c.ready("responder")
	t.Logf("kmend is ready after %.1f s", time.Since(began).Seconds())
	secret, err := node.Client().CoreV1().Secrets(namespace).Get(t.Context(), release+"-tokens", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(c.tokens, "webhook.token"), string(secret.Data["webhook"]))
	writeFile(t, filepath.Join(c.tokens, "read.token"), string(secret.Data["api"]))
	return c
}

// load builds a program and gives containerd the image that its Dockerfile describes.
func load(t *testing.T, name, reference string) {
	t.Helper()
	img, err := fromDockerfile(reference, name, program(t, name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(node.dir, name+".tar")
	if err := errors.Join(writeImage(path, img), ctr(t.Context(), "images", "import", path), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
}

// rendered is what `helm install` would apply, in its order.
func rendered(t *testing.T, values string) (out []*unstructured.Unstructured) {
	t.Helper()
	render := exec.CommandContext(t.Context(), "go", "run", "./render", "-release", release, "-namespace", releaseNamespace, "-values", filepath.Join(sourceDir(), "testdata", values))
	render.Dir, render.Env = filepath.Join(sourceDir(), "..", "chart"), append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var problems bytes.Buffer
	render.Stderr = &problems
	text, err := render.Output()
	if err != nil {
		t.Fatalf("rendering the chart: %v\n%s", err, &problems)
	}
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(&o.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("reading the chart's manifests: %v", err)
		}
		if o.Object != nil {
			out = append(out, o)
		}
	}
	if len(out) < 20 {
		t.Fatalf("the chart renders %d objects only", len(out))
	}
	return out
}

// volume is one for kmend's claim, of a folder that its user may write to: nobody
// provisions volumes here.
func volume(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	dir := filepath.Join(node.state(), "data-of-"+name)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chown(dir, 65532, 65532)); err != nil {
		t.Fatal(err)
	}
	size := resource.MustParse("2Gi")
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolume", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"capacity": map[string]any{"storage": size.String()}, "accessModes": []any{"ReadWriteOnce"},
			"persistentVolumeReclaimPolicy": "Retain", "hostPath": map[string]any{"path": dir},
		},
	}}
}

// everything is the API, for objects of all kinds.
func everything(t *testing.T) dynamic.Interface {
	t.Helper()
	admin, err := clientcmd.BuildConfigFromFlags("", node.Kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := dynamic.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// create makes an object, and removes it when the test ends.
func create(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	plural, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
	of := everything(t).Resource(plural).Namespace(o.GetNamespace())
	if _, err := of.Create(t.Context(), o, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
		t.Fatalf("creating %s %s: %v", o.GetKind(), o.GetName(), err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		background := metav1.DeletePropagationBackground
		err := of.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		for ; err == nil && o.GetKind() == "Namespace"; time.Sleep(100 * time.Millisecond) { // all that was in it: the next test may drain the node
			_, err = of.Get(ctx, o.GetName(), metav1.GetOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("removing %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	})
}

// ready waits for the release's one pod of a component, and for it to be ready.
func (c *installation) ready(component string) *corev1.Pod {
	c.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		pods := c.pods(component)
		if len(pods) == 1 && slices.ContainsFunc(pods[0].Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}) {
			return &pods[0]
		}
		if time.Now().After(deadline) {
			c.Fatalf("no pod of the %s is ready after 90 s: %s", component, c.events())
		}
	}
}

func (c *installation) pods(component string) []corev1.Pod {
	c.Helper()
	list, err := node.Client().CoreV1().Pods(c.namespace).List(c.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + c.release + ",app.kubernetes.io/component=" + component})
	if err != nil {
		c.Fatal(err)
	}
	return list.Items
}

// events are what Kubernetes says is wrong.
func (c *installation) events() string {
	list, err := node.Client().CoreV1().Events(c.namespace).List(c.Context(), metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&b, "\n%s %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	return b.String()
}

// logs shows what the pods wrote.
func (c *installation) logs() {
	files, _ := filepath.Glob(filepath.Join(node.state(), "podlogs", c.namespace+"_*", "*", "*.log"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		c.Logf("%s:\n%s", f, tail(string(text), 40))
	}
}

// server is kmend as Alertmanager and people reach it.
func (c *installation) server() *server.Server {
	return server.At("http://"+c.kmend.Status.PodIP+":9790", c.tokens)
}

// reach is how the agent is reached by whoever has the token in the file.
func (c *installation) reach(tokenFile string) server.Agent {
	c.Helper()
	secret, err := node.Client().CoreV1().Secrets(c.namespace).Get(c.Context(), c.release+"-agent-tls", metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	ca := writeFile(c.T, filepath.Join(c.TempDir(), "ca.crt"), string(secret.Data["ca.crt"]))
	return server.Agent{Node: NodeName, URL: "https://" + c.agent.Status.PodIP + ":9791", CAFile: ca, TokenFile: tokenFile, ServerName: "kmend-agent"}
}
