package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/test/apiserver"
	"github.com/kmend/kmend/test/process"
)

// replicas are the pods of one Deployment, and shops of them share a namespace.
const (
	replicas = 10
	shops    = 20
)

// kwok is the program that `test/setup/kwok` builds.
const kwok = "kwok-v0.8.0"

// cluster is a real API server with fake nodes and pods.
type cluster struct {
	*testing.T
	api         *apiserver.Server
	admin       kubernetes.Interface
	nodes, pods int // that there are, without the agents' pods
}

// newCluster starts the API server and KWOK; what kmend asks is audited.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KMEND_TEST_KUBECONFIG") != "" {
		t.Skip("needs an API server of its own; runs in `make test`")
	}
	cache, err := process.Cache()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(cache, "bin", kwok)
	if _, err := os.Stat(program); err != nil {
		t.Skipf("no %s: test/setup/kwok builds it; runs in `make test`", program)
	}
	c := &cluster{T: t, api: &apiserver.Server{Audit: apiserver.Kmend}}
	t.Cleanup(c.api.Stop)
	config := c.api.Config(t)
	config.ContentType = runtime.ContentTypeProtobuf
	if c.admin, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Spec{Name: "kwok", Path: program, Args: []string{"--kubeconfig", c.api.Kubeconfig(t, "kwok", "admin"),
		"--manage-all-nodes", "--node-lease-duration-seconds=0", "--config", "testdata/stages.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kwok printed:\n%s", p.Tail())
		}
		_ = p.Kill()
	})
	return c
}

// grow adds nodes, each with an agent's pod, and pods of Deployments on all nodes,
// until there are as many, and waits until all of them run.
func (c *cluster) grow(nodes, pods int) {
	c.Helper()
	began := time.Now()
	c.many(c.nodes, nodes, func(ctx context.Context, i int) error {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{"kubernetes.io/hostname": nodeName(i), "topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3)}}}
		_, err := c.admin.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		return errors.Join(err, c.pod(ctx, "kmend", fmt.Sprintf("kmend-agent-%05d", i), i, owner("DaemonSet", "kmend-agent", "agents"), "kmend-agent", "1"))
	})
	first, last := c.pods/replicas, pods/replicas
	c.many(first/shops, (last+shops-1)/shops, func(ctx context.Context, i int) error {
		_, err := c.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace(i * shops)}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	c.many(first, last, func(ctx context.Context, i int) error { return c.deployment(ctx, i, nodes) })
	c.nodes, c.pods = nodes, pods
	c.eventually(10*time.Minute, "every pod runs", func() bool {
		list, err := c.admin.CoreV1().Pods("").List(c.Context(), metav1.ListOptions{FieldSelector: "status.phase=Pending", Limit: 1})
		return err == nil && len(list.Items) == 0
	})
	c.Logf("%d nodes with %d pods run after %s", nodes, pods, time.Since(began).Round(time.Second))
}

func nodeName(i int) string  { return fmt.Sprintf("node-%05d", i) }
func shop(i int) string      { return fmt.Sprintf("shop-%05d", i) }
func namespace(i int) string { return fmt.Sprintf("team-%04d", i/shops) }

// podOf is a pod of a Deployment.
func podOf(i, replica int) string { return fmt.Sprintf("%s-6d5f7b9c4-%05d", shop(i), replica) }

// deployment makes the ith Deployment with what its controllers would make, and
// spreads its pods over the nodes as the scheduler would.
func (c *cluster) deployment(ctx context.Context, i, nodes int) error {
	n, labels := int32(replicas), map[string]string{"app": shop(i)}
	meta := metav1.ObjectMeta{Name: shop(i), Namespace: namespace(i), Labels: labels}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec("500m", "")}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	d, err := c.admin.AppsV1().Deployments(meta.Namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{Replicas: &n, Selector: selector, Template: template}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	if _, err := c.admin.AppsV1().Deployments(meta.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil {
		return err
	}
	meta.Name += "-6d5f7b9c4"
	meta.OwnerReferences = []metav1.OwnerReference{owner("Deployment", d.Name, d.UID)}
	rs, err := c.admin.AppsV1().ReplicaSets(meta.Namespace).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: meta,
		Spec: appsv1.ReplicaSetSpec{Replicas: &n, Selector: selector, Template: template}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err := c.admin.CoreV1().Services(meta.Namespace).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: shop(i)},
		Spec: corev1.ServiceSpec{ClusterIP: "None", Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for r := range replicas {
		if err := c.pod(ctx, meta.Namespace, podOf(i, r), (i*replicas+r)%nodes, owner("ReplicaSet", rs.Name, rs.UID), shop(i), "500m"); err != nil {
			return err
		}
	}
	return nil
}

func owner(kind, name string, uid types.UID) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid, Controller: &yes}
}

func (c *cluster) pod(ctx context.Context, namespace, name string, node int, by metav1.OwnerReference, app, cpu string) error {
	_, err := c.admin.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{by},
		Labels:      map[string]string{"app": app, "pod-template-hash": "6d5f7b9c4", "app.kubernetes.io/part-of": "shops", "app.kubernetes.io/version": "1.2.3"},
		Annotations: map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "9090"}}, Spec: podSpec(cpu, nodeName(node))}, metav1.CreateOptions{})
	return err
}

// podSpec is of about the size that pods have.
func podSpec(cpu, node string) corev1.PodSpec {
	limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("256Mi")}
	requests := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")}
	var env []corev1.EnvVar
	for i := range 10 {
		env = append(env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", i), Value: "a value of some length, as they are"})
	}
	return corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "app", Image: "registry.test/shops/app:1.2.3", Env: env,
		Resources: corev1.ResourceRequirements{Limits: limits, Requests: requests}}}}
}

// many calls do side by side for every number in [from, to).
func (c *cluster) many(from, to int, do func(ctx context.Context, i int) error) {
	c.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	next.Store(int64(from))
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(to) && !c.Failed(); i = next.Add(1) - 1 {
				if err := do(c.Context(), int(i)); err != nil {
					c.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if c.Failed() {
		c.FailNow()
	}
}

func (c *cluster) eventually(within time.Duration, what string, is func() bool) {
	c.Helper()
	for deadline := time.Now().Add(within); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("not so within %s: %s", within, what)
		}
	}
}
