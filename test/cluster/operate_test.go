package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

// backedUp brings the record out of kmend's pod and back into its volume, as
// docs/operate.md says.
func (c *installation) backedUp(t *testing.T) {
	before, err := c.server().Incidents(t.Context())
	if err != nil || len(before) == 0 {
		t.Fatalf("%d incidents before the backup: %v", len(before), err)
	}
	var backup bytes.Buffer
	c.stream(t, c.kmend.Name, "exec", &corev1.PodExecOptions{Command: []string{"kmend", "backup", "--config", "/etc/kmend/config/kmend.yaml", "-"}, Stdout: true, Stderr: true}, nil, &backup)

	c.scale(t, 0)
	for deadline := time.Now().Add(90 * time.Second); len(c.pods("responder")) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("kmend's pod is there 90 s after it was scaled to 0")
		}
	}
	pod := c.restorer(t)
	pods := node.Client().CoreV1().Pods(releaseNamespace)
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pods.Delete(context.Background(), pod.Name, metav1.DeleteOptions{}) })
	in := func(phases ...corev1.PodPhase) {
		t.Helper()
		var last corev1.PodStatus
		for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			p, err := pods.Get(t.Context(), pod.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, phase := range phases {
				if p.Status.Phase == phase {
					return
				}
			}
			last = p.Status
		}
		t.Fatalf("the pod that restores is not %s after 60 s: %+v", phases, last)
	}
	in(corev1.PodRunning)
	var said bytes.Buffer
	c.stream(t, pod.Name, "attach", &corev1.PodAttachOptions{Stdin: true, Stdout: true, Stderr: true}, &backup, &said)
	in(corev1.PodSucceeded)
	if !strings.Contains(said.String(), "restored; 0 open incidents are ended as interrupted, and kmend is paused") {
		t.Errorf("the restore said %q", said.String())
	}

	c.scale(t, 1)
	c.kmend = c.ready("responder")
	after, err := c.server().Incidents(t.Context())
	if err != nil || len(after) != len(before) {
		t.Errorf("%d incidents after the restore, %d before: %v", len(after), len(before), err)
	}
}

// restorer is the pod of the page's kubectl run, of this release.
func (c *installation) restorer(t *testing.T) *corev1.Pod {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(sourceDir(), "..", "..", "docs", "operate.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`kubectl -n kmend run (\S+) --rm -i --restart=(\w+) .*--overrides='(.*)' < kmend.backup`).FindStringSubmatch(string(page))
	if m == nil {
		t.Fatal("docs/operate.md has no kubectl run that restores")
	}
	container := c.kmend.Spec.Containers[0]
	overrides := strings.NewReplacer(`'"$IMAGE"'`, container.Image, "data-kmend-0", "data-"+release+"-0").Replace(m[3])
	var pod corev1.Pod
	if err := json.Unmarshal([]byte(overrides), &pod); err != nil {
		t.Fatalf("the page's overrides: %v in %s", err, overrides)
	}
	pod.Name, pod.Spec.RestartPolicy = m[1], corev1.RestartPolicy(m[2])
	pod.Spec.Containers[0].ImagePullPolicy = container.ImagePullPolicy // nobody pulls here
	return &pod
}

func (c *installation) scale(t *testing.T, replicas int32) {
	t.Helper()
	sets := node.Client().AppsV1().StatefulSets(releaseNamespace)
	s, err := sets.GetScale(t.Context(), release, metav1.GetOptions{})
	if err == nil {
		s.Spec.Replicas = replicas
		_, err = sets.UpdateScale(t.Context(), release, s, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stream is kubectl's exec and attach.
func (c *installation) stream(t *testing.T, pod, how string, options runtime.Object, in io.Reader, out io.Writer) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", node.Kubeconfig("admin"))
	if err != nil {
		t.Fatal(err)
	}
	url := node.Client().CoreV1().RESTClient().Post().Resource("pods").Namespace(releaseNamespace).Name(pod).SubResource(how).VersionedParams(options, scheme.ParameterCodec).URL()
	e, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var problems bytes.Buffer
	if err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: &problems}); err != nil {
		t.Fatalf("%s in pod %s: %v: %s", how, pod, err, problems.String())
	}
}
