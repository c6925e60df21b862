package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// All that the pages have their readers type with Helm and kubectl, typed as it stands
// there: installed as it comes, seen in dry run, let act, stopped, saved and restored,
// rolled back and removed; and the same without Helm.
func TestAsThePagesSay(t *testing.T) {
	node.Need(t)
	d := newDesk(t)
	d.run("kubectl delete --ignore-not-found -f deploy/rbac") // other tests' grants: Helm takes over nothing
	loadImages(d)
	for _, name := range []string{"first", "second"} { // one for each of the two installations
		create(t, volume(t, name))
	}
	namespace(t, shop)
	burn := slow("cart-1")
	burn.Namespace = shop
	pod := node.Run(t, burn)
	expectThrottled(t, pod, 0.2)

	// In dry run, without a right.
	notes := d.types("docs/install.md", "helm install kmend")
	d.types("docs/install.md", "kubectl label namespace kmend")
	for line := range strings.Lines(notes) {
		if line = strings.TrimSpace(line); strings.Contains(line, "rollout status") {
			d.run(line)
		}
	}
	c := installed(t, "kmend", "kmend")
	d.reads(d.types("docs/quick-start.md", "kubectl -n kmend port-forward"), "shop/cart-1", "cpu.throttled", "denied", "actions.resize_cpu: true")
	d.reads(d.types("docs/operate.md", "kubectl -n kmend exec kmend-0 -- kmend doctor"), "nothing is to be done")
	d.types("docs/operate.md", "helm get notes")
	d.types("docs/install.md", "kubectl get endpointslices kubernetes")
	d.types("docs/install.md", "kubectl -n kmend create job kmend-certificates-again")
	d.run("kubectl -n kmend wait --for=condition=complete job/kmend-certificates-again --timeout=1m")
	d.reads(d.types("docs/install.md", "kubectl -n kmend logs -l app.kubernetes.io/component=certificates"), "certificate for kmend-agent until")

	// With the right, and then with everything that lets it act.
	d.types("docs/install.md", "helm upgrade kmend deploy/chart/kmend --namespace kmend --reset-then-reuse-values --set actions")
	d.types("docs/install.md", "kubectl -n kmend rollout restart")
	d.ready(c)
	d.reads(d.types("docs/operate.md", "kubectl -n kmend port-forward"), "shop/cart-1", "dry_run")
	if after := node.Throttling(t, pod); after.Quota != 0.2 {
		t.Errorf("in dry run the quota became %g CPU", after.Quota)
	}
	d.reads(d.run("kubectl -n kmend port-forward svc/kmend 9790 &\n"+d.shown("docs/operate.md", "kmend doctor --kubeconfig"), "http://127.0.0.1:9093", startAlertmanager(t, c.server()).URL),
		"ready on 1 of 1 nodes", "receiver kmend sends to", "nothing is to be done")
	policy, err := os.ReadFile(filepath.Join(sourceDir(), "testdata", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.file("policy.yaml"), string(policy))
	d.types("docs/install.md", "helm upgrade kmend deploy/chart/kmend --namespace kmend --reset-then-reuse-values --set-file")
	d.ready(c)
	am := startAlertmanager(t, c.server())
	expectHealed(t, c.server(), am, pod)
	d.reads(d.types("docs/operate.md", "kubectl -n kmend exec kmend-0 -- kmend doctor"), "such plans end as denied", "nothing is to be done")

	// A policy is read again when it changes, without a restart; one that is broken is not.
	for _, change := range []struct{ to, failed, readyz string }{
		{"perhaps", "1", "perhaps"},
		{"deny", "0", `"ready": true`},
	} {
		writeFile(t, d.file("policy.yaml"), strings.Replace(string(policy), "decide: allow", "decide: "+change.to, 1))
		d.types("docs/install.md", "helm upgrade kmend deploy/chart/kmend --namespace kmend --reset-then-reuse-values --set-file")
		d.run("kubectl -n kmend annotate --overwrite pod kmend-0 test=" + change.to) // the kubelet looks at it now, and not within a minute
		d.eventually(`kmend_config_reload_failed{what="policies"} `+change.failed, func() string { return d.get(c, "/metrics") })
		d.reads(d.get(c, "/readyz"), change.readyz)
	}
	another := func(name string) *corev1.Pod {
		burn.Name = name
		pod := node.Run(t, burn)
		expectThrottled(t, pod, 0.2)
		return pod
	}
	says(t, alerted(t, c.server(), am, another("cart-2")), "denied", "the test's pods live there")
	d.types("docs/install.md", "kubectl -n kmend patch configmap kmend")
	says(t, alerted(t, c.server(), am, another("cart-3")), "denied", "paused")
	if now := c.ready("responder"); now.UID != c.kmend.UID || now.Status.ContainerStatuses[0].RestartCount > 0 {
		t.Error("kmend was started again")
	}

	// The record out of the volume and back.
	before, err := c.server().Incidents(t.Context())
	if err != nil || len(before) < 3 {
		t.Fatalf("%d incidents before the backup: %v", len(before), err)
	}
	d.types("docs/operate.md", "kubectl -n kmend exec kmend-0 -- kmend backup")
	d.reads(d.types("docs/operate.md", "kubectl -n kmend scale statefulset/kmend --replicas=0"), "restored; 0 open incidents are ended as interrupted, and kmend is paused")
	d.ready(c)
	after, err := c.server().Incidents(t.Context())
	if err != nil || len(after) != len(before) {
		t.Errorf("%d incidents after the restore, %d before: %v", len(after), len(before), err)
	}

	// Back to what it was, and away.
	d.types("docs/operate.md", "helm rollback kmend", "rollback kmend", "rollback kmend 2") // before it could act
	d.ready(c)
	if config := d.run("kubectl -n kmend get configmap kmend-config -o yaml"); strings.Contains(config, "dryRun: false") {
		t.Error("after the rollback it is not in dry run")
	}
	d.types("docs/install.md", "helm uninstall kmend")
	d.reads(d.run("kubectl -n kmend get persistentvolumeclaims,secrets -o name"), "persistentvolumeclaim/data-kmend-0", "secret/kmend-agent-tls")
	d.types("docs/install.md", "kubectl delete namespace kmend")
	if _, err := node.Client().CoreV1().Namespaces().Get(t.Context(), "kmend", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is there: %v", err)
	}

	// Without Helm.
	d.types("docs/install.md", "kubectl apply -f deploy/kmend.yaml")
	c = installed(t, "kmend", "kmend")
	writeFile(t, d.file("values.yaml"), "namespace: {create: true}\ntokens: {existingSecret: kmend-tokens}\nactions: {resize_cpu: true}\nresponder: {logLevel: debug, nodeSelector: {kubernetes.io/hostname: "+NodeName+"}}\n")
	writeFile(t, d.file("kmend.yaml"), d.types("docs/install.md", "go run -C test/chart ./render", "/ABSOLUTE", d.dir))
	d.reads(d.run("kubectl apply -f kmend.yaml"), "clusterrole.rbac.authorization.k8s.io/kmend-resize created", "statefulset.apps/kmend configured")
	d.ready(c)
	d.types("docs/install.md", "kubectl delete -f deploy/kmend.yaml")
	d.run("kubectl delete --ignore-not-found -f kmend.yaml")

	// The rights alone, twice, and what a release is made of.
	d.types("deploy/README.md", "kubectl apply -f deploy/rbac")
	d.reads(d.types("docs/install.md", "kubectl apply -f deploy/rbac/resize.yaml"), "unchanged")
	d.types("docs/release.md", "helm package")
	if _, err := os.Stat(d.file("kmend-1.2.3.tgz")); err != nil {
		t.Error(err)
	}
	for _, c := range d.left() {
		if line := strings.Join(c.Args, " "); strings.HasPrefix(line, "kubectl apply -f deploy/rbac/") {
			d.reads(d.run(line), "unchanged")
		}
	}
	d.run("kubectl delete -f deploy/rbac")
	for _, c := range d.left() {
		t.Errorf("%s: on a page, and nobody types it", c)
	}
}

// loadImages gives containerd those that the chart asks for where nobody names others.
func loadImages(d *desk) {
	d.Helper()
	manifests, err := os.ReadFile(d.file("deploy/kmend.yaml"))
	if err != nil {
		d.Fatal(err)
	}
	found := regexp.MustCompile(`image: "?(\S+/(kmend|kmend-agent):[^\s"]+)`).FindAllStringSubmatch(string(manifests), -1)
	done := map[string]bool{}
	for _, m := range found {
		if !done[m[1]] {
			load(d.T, m[2], m[1])
		}
		done[m[1]] = true
	}
	if len(done) != 2 {
		d.Fatalf("deploy/kmend.yaml has the images %v", done)
	}
}

// ready waits until the pods are those of the last change.
func (d *desk) ready(c *installation) {
	d.Helper()
	d.run("kubectl -n kmend rollout status statefulset/kmend --timeout=2m\nkubectl -n kmend rollout status daemonset/kmend-agent --timeout=2m")
	c.kmend, c.agent = c.ready("responder"), c.ready("agent")
}
