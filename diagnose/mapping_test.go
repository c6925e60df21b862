package diagnose

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kmend/kmend/incident"
)

type labels = map[string]string

func alertWith(l labels) incident.Alert { return incident.Alert{Labels: l} }

func TestTargetFromLabels(t *testing.T) {
	for name, c := range map[string]struct {
		labels labels
		want   incident.Target
	}{
		"kube-prometheus, cadvisor": {
			labels{"namespace": "shop", "pod": "checkout-7d4b9c-x2x1z", "container": "app", "job": "kubelet", "node": "n1", "instance": "10.0.0.1:10250"},
			incident.Target{Node: "n1", Namespace: "shop", Pod: "checkout-7d4b9c-x2x1z", Container: "app"}},
		"old names":                  {labels{"namespace": "shop", "pod_name": "p", "container_name": "c"}, incident.Target{Namespace: "shop", Pod: "p", Container: "c"}},
		"pause container is the pod": {labels{"namespace": "shop", "pod": "p", "container": "POD"}, incident.Target{Namespace: "shop", Pod: "p"}},
		"exported labels win over the exporter's": {
			labels{"exported_namespace": "shop", "exported_pod": "p", "exported_container": "c", "namespace": "monitoring", "pod": "kube-state-metrics-0", "container": "kube-state-metrics"},
			incident.Target{Namespace: "shop", Pod: "p", Container: "c"}},
		"the exporter's container is not of the exported pod": {
			labels{"exported_namespace": "shop", "exported_pod": "p", "namespace": "monitoring", "pod": "ksm", "container": "kube-state-metrics"},
			incident.Target{Namespace: "shop", Pod: "p"}},
		"honorLabels, series without container": {
			labels{"job": "kube-state-metrics", "namespace": "shop", "pod": "p", "container": "kube-rbac-proxy-main"},
			incident.Target{Namespace: "shop", Pod: "p"}},
		"honorLabels, series with container": {
			labels{"job": "kube-state-metrics", "namespace": "shop", "pod": "p", "container": "app"},
			incident.Target{Namespace: "shop", Pod: "p", Container: "app"}},
		"the node exporter's pod, seen by cadvisor": {
			labels{"job": "kubelet", "namespace": "monitoring", "pod": "node-exporter-abc", "container": "node-exporter"},
			incident.Target{Namespace: "monitoring", Pod: "node-exporter-abc", Container: "node-exporter"}},
		"the node exporter speaking of a unit": {
			labels{"job": "node-exporter", "namespace": "monitoring", "pod": "node-exporter-abc", "container": "kube-rbac-proxy", "instance": "n1", "nodename": "n1", "name": "nginx.service"},
			incident.Target{Node: "n1", Unit: "nginx.service"}},
		"the node exporter speaking of its node": {
			labels{"job": "node-exporter", "namespace": "monitoring", "pod": "prom-node-exporter-abc", "node": "n1"},
			incident.Target{Node: "n1"}},
		"name that is no unit": {labels{"name": "eth0", "cgroup": "/sys/fs/cgroup/x"}, incident.Target{Cgroup: "/sys/fs/cgroup/x"}},
		"unit":                 {labels{"unit": "getty@tty1.service", "hostname": "Web1"}, incident.Target{Node: "web1", Unit: "getty@tty1.service"}},
		"escaped unit":         {labels{"unit": `dev-disk\x2d1.slice`}, incident.Target{Unit: `dev-disk\x2d1.slice`}},
		"cgroup":               {labels{"cgroup": "/sys/fs/cgroup/cpu/demo/checkout"}, incident.Target{Cgroup: "/sys/fs/cgroup/cpu/demo/checkout"}},
		"pid":                  {labels{"pid": "4194304"}, incident.Target{PID: 4194304}},
		"deployment": {labels{"job": "kube-state-metrics", "namespace": "shop", "deployment": "cart", "container": "kube-rbac-proxy", "service": "kube-state-metrics", "pod": "kube-state-metrics-1"},
			incident.Target{Namespace: "shop", Workload: "Deployment/cart"}},
		"deployment on a node":    {labels{"namespace": "shop", "deployment": "cart", "node": "n1", "container": "app"}, incident.Target{Namespace: "shop", Workload: "Deployment/cart", Node: "n1", Container: "app"}},
		"statefulset":             {labels{"exported_namespace": "shop", "namespace": "monitoring", "pod": "ksm", "container": "ksm", "statefulset": "db"}, incident.Target{Namespace: "shop", Workload: "StatefulSet/db"}},
		"daemonset":               {labels{"namespace": "shop", "daemonset": "proxy"}, incident.Target{Namespace: "shop", Workload: "DaemonSet/proxy"}},
		"replicaset":              {labels{"namespace": "shop", "replicaset": "cart-7d4b9c"}, incident.Target{Namespace: "shop", Workload: "ReplicaSet/cart-7d4b9c"}},
		"job of a cronjob":        {labels{"namespace": "shop", "job_name": "bill-123", "job": "kube-state-metrics"}, incident.Target{Namespace: "shop", Workload: "Job/bill-123"}},
		"cronjob":                 {labels{"namespace": "shop", "cronjob": "bill"}, incident.Target{Namespace: "shop", Workload: "CronJob/bill"}},
		"service":                 {labels{"namespace": "shop", "service": "cart", "job": "cart"}, incident.Target{Namespace: "shop", Service: "cart"}},
		"service of Istio":        {labels{"namespace": "shop", "destination_service_name": "cart", "service": "istio-proxy", "job": "istio"}, incident.Target{Namespace: "shop", Service: "cart"}},
		"service of the series":   {labels{"exported_namespace": "shop", "namespace": "monitoring", "exported_service": "cart", "service": "blackbox"}, incident.Target{Namespace: "shop", Service: "cart"}},
		"service of the exporter": {labels{"job": "node-exporter", "namespace": "monitoring", "service": "prom-node-exporter", "instance": "1.2.3.4:9100", "cgroup": "/x"}, incident.Target{Cgroup: "/x"}},
		"node before service":     {labels{"namespace": "shop", "service": "gpu", "job": "gpu", "node": "n1"}, incident.Target{Node: "n1"}},
		"pod before deployment":   {labels{"namespace": "shop", "pod": "cart-1", "deployment": "cart", "service": "cart"}, incident.Target{Namespace: "shop", Pod: "cart-1"}},
		"SLO":                     {labels{"sloth_service": "cart", "sloth_slo": "requests", "sloth_id": "cart-requests"}, incident.Target{Namespace: "shop", Workload: "Deployment/cart"}},
		"deployment before SLO":   {labels{"slo": "cart-requests", "namespace": "bar", "deployment": "b"}, incident.Target{Namespace: "bar", Workload: "Deployment/b"}},
		"MongoDB's replicaset":    {labels{"replicaset": "rs0", "node": "db1"}, incident.Target{Node: "db1"}},
		"a deployment of a host":  {labels{"deployment": "production", "service": "web", "systemd_unit": "nginx.service", "node": "n1"}, incident.Target{Node: "n1", Unit: "nginx.service"}},
		"pod before the others":   {labels{"namespace": "a", "pod": "b", "pid": "1", "cgroup": "/x", "unit": "u.service"}, incident.Target{Namespace: "a", Pod: "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := DefaultMapping()
			m.SLOs = map[string]incident.Target{"cart-requests": {Namespace: "shop", Workload: "Deployment/cart"}}
			got, ok, why := m.Target(alertWith(c.labels))
			if !ok || got != c.want {
				t.Errorf("got %+v, %v, %q\nwant %+v", got, ok, why, c.want)
			}
		})
	}
}

func TestNoTargetSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		labels labels
		why    string
	}{
		"nothing":               {labels{"alertname": "A", "instance": "10.0.0.1:9100"}, "no label names what is slow; looked for exported_pod, pod,"},
		"exporter only":         {labels{"job": "kube-state-metrics", "namespace": "monitoring", "pod": "kube-state-metrics-1"}, `the exporter's own pod "kube-state-metrics-1"`},
		"exported namespace":    {labels{"exported_namespace": "shop", "namespace": "monitoring", "pod": "x"}, `the exporter's own pod "x"`},
		"pod without namespace": {labels{"pod": "p"}, `no label names its namespace`},
		"deployment alone":      {labels{"deployment": "cart"}, "label deployment is \"cart\", and no label names its namespace"},
		"deployment, injected":  {labels{"namespace": "shop", "deployment": "a\"} or up"}, "label deployment is"},
		"service, injected":     {labels{"namespace": "shop", "service": "../x"}, "label service is"},
		"service's namespace":   {labels{"namespace": "Shop", "service": "x"}, "label namespace is"},
		"service of kubelet":    {labels{"namespace": "kube-system", "service": "kps-kubelet", "job": "kubelet"}, "no label names"},
		"exporter's daemonset":  {labels{"namespace": "m", "daemonset": "node-exporter", "job": "node-exporter"}, "no label names"},
		"SLO that is not known": {labels{"slo": "x\ny"}, `label slo is "x\ny", and slos in kmend.yaml has none`},
		"path traversal":        {labels{"cgroup": "/sys/fs/cgroup/../../etc"}, "shortest form"},
		"relative cgroup":       {labels{"cgroup": "system.slice"}, "not an absolute path"},
		"root":                  {labels{"cgroup": "/"}, "shortest form"},
		"newline":               {labels{"cgroup": "/sys/fs/cgroup/a\nb"}, "control characters"},
		"long cgroup":           {labels{"cgroup": "/" + strings.Repeat("a", 4095)}, "longer than 4095"},
		"pod with a slash":      {labels{"namespace": "a", "pod": "../b"}, "not a name in Kubernetes"},
		"upper case":            {labels{"namespace": "Shop", "pod": "b"}, `label namespace is "Shop": not a name`},
		"long namespace":        {labels{"namespace": strings.Repeat("a", 64), "pod": "b"}, "at most 63"},
		"container":             {labels{"namespace": "a", "pod": "b", "container": "a.b"}, "label container"},
		"pid 0":                 {labels{"pid": "0"}, "from 1 to 4194304"},
		"pid +1":                {labels{"pid": "+1"}, "whole number"},
		"pid large":             {labels{"pid": "4194305"}, "whole number"},
		"unit of another sense": {labels{"unit": "seconds"}, "NAME.service"},
		"unit with a slash":     {labels{"unit": "../x.service"}, "NAME.service"},
		"node":                  {labels{"node": "a_b", "pid": "1"}, "label node"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok, why := DefaultMapping().Target(alertWith(c.labels))
			if ok || !got.IsZero() || !strings.Contains(why, c.why) {
				t.Errorf("got %+v, %v, %q\nwant no target, and %q", got, ok, why, c.why)
			}
		})
	}
}

func TestClusterLabel(t *testing.T) {
	m := DefaultMapping()
	m.Cluster = "eu-1"
	if got, ok, _ := m.Target(alertWith(labels{"pid": "7"})); !ok || got.Cluster != "eu-1" {
		t.Errorf("no cluster label: %+v, %v; want cluster eu-1", got, ok)
	}
	if _, ok, why := m.Target(alertWith(labels{"pid": "7", "cluster": "us-1"})); ok || !strings.Contains(why, `this kmend serves "eu-1"`) {
		t.Errorf("another cluster's alert: %v, %q; want no target", ok, why)
	}
}

func TestConfiguredLabels(t *testing.T) {
	m := DefaultMapping()
	m.Node, m.Cgroup = []string{"instance"}, []string{"id"}
	got, ok, why := m.Target(alertWith(labels{"instance": "web1:9100", "id": "/sys/fs/cgroup/x", "cgroup": "/y"}))
	if want := (incident.Target{Node: "web1", Cgroup: "/sys/fs/cgroup/x"}); !ok || got != want {
		t.Errorf("got %+v, %q; want %+v", got, why, want)
	}
}

// Whatever the labels hold, a target is valid, has a key, and no target says why.
func TestTargetIsAlwaysValid(t *testing.T) {
	m := DefaultMapping()
	names := append(append(append([]string{"job", "instance"}, m.Pod...), m.Namespace...), "container", "node", "cgroup", "pid", "unit", "name")
	value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z0-9./:-]{1,70}`), rapid.SampledFrom([]string{"/a/b", "12", "a.service", "kube-state-metrics", "p-1"}))
	rapid.Check(t, func(t *rapid.T) {
		got, ok, why := m.Target(alertWith(rapid.MapOfN(rapid.SampledFrom(names), value, 0, 6).Draw(t, "labels")))
		if ok == (why != "") || ok == got.IsZero() || ok == (got.Key() == "") {
			t.Fatalf("%+v, %v, %q", got, ok, why)
		}
		if got.Pod != "" && (dnsSubdomain(got.Pod) != "" || dnsLabel(got.Namespace) != "" || got.Cgroup+got.Unit != "") ||
			got.Container != "" && dnsLabel(got.Container) != "" || got.Node != "" && dnsSubdomain(got.Node) != "" ||
			got.Cgroup != "" && cgroupPath(got.Cgroup) != "" || got.Unit != "" && unitName(got.Unit) != "" || got.PID < 0 || got.PID > maxPID {
			t.Fatalf("invalid target %+v", got)
		}
	})
}
