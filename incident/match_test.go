package incident

import "testing"

func TestOverKeepsWhatTheNodeResolved(t *testing.T) {
	alert := Target{Cluster: "prod", Namespace: "shop", Pod: "web", Container: "app"}
	node := Target{Node: "n1", Namespace: "shop", Pod: "web", Container: "app", PodUID: "u1", Cgroup: "/sys/fs/cgroup/x"}
	want := Target{Cluster: "prod", Node: "n1", Namespace: "shop", Pod: "web", Container: "app", PodUID: "u1", Cgroup: "/sys/fs/cgroup/x"}
	if got := node.Over(alert); got != want {
		t.Errorf("Over = %+v, want %+v", got, want)
	}
}

func TestDiffers(t *testing.T) {
	a := Target{Namespace: "shop", Pod: "web", PodUID: "u1", Cgroup: "/v1/cpu/x", PID: 7, Node: "n1"}
	for _, tc := range []struct {
		name, want string
		b          Target
	}{
		{"the same", "", a},
		{"one knows less", "", Target{Pod: "web"}},
		{"another hierarchy's path", "", Target{Pod: "web", Cgroup: "/v1/memory/x"}},
		{"the pod was replaced", "podUID", Target{Pod: "web", PodUID: "u2"}},
		{"another name of the node", "", Target{Pod: "web", Node: "n1.example.com"}},
		{"another namespace", "namespace", Target{Namespace: "kube-system", Pod: "web"}},
		{"another process", "pid", Target{PID: 8}},
	} {
		if got := a.Differs(tc.b); got != tc.want {
			t.Errorf("%s: Differs = %q, want %q", tc.name, got, tc.want)
		}
		if got := tc.b.Differs(a); got != tc.want {
			t.Errorf("%s, the other way round: Differs = %q, want %q", tc.name, got, tc.want)
		}
	}
}

// A process stays a process for people, also when its group was looked up.
func TestString(t *testing.T) {
	for want, target := range map[string]Target{
		"pid 7":               {PID: 7, Cgroup: "/sys/fs/cgroup/a"},
		"cgroup /a":           {Cgroup: "/a", Node: "n"},
		"unit a.service":      {Unit: "a.service", Cgroup: "/a"},
		"deployment shop/api": {Namespace: "shop", Workload: "Deployment/api"},
		"service shop/api":    {Namespace: "shop", Service: "api", Node: "n"},
		"pod shop/api-1":      {Namespace: "shop", Workload: "Deployment/api", Pod: "api-1"},
		"pod shop/api/main":   {Namespace: "shop", Pod: "api", Container: "main", Cgroup: "/a"},
		"no target":           {},
	} {
		if got := target.String(); got != want {
			t.Errorf("%+v: %q; want %q", target, got, want)
		}
	}
}

// What stands for many pods has a key of its own, and loses it to a pod.
func TestKeysOfWorkloads(t *testing.T) {
	web := Target{Namespace: "shop", Workload: "Deployment/web"}
	if web.Differs(Target{Namespace: "shop", Workload: "StatefulSet/web"}) != "workload" || (Target{Service: "a"}).Differs(Target{Service: "b"}) != "service" {
		t.Error("two workloads or two services are the same")
	}
	pod := Target{Pod: "web-1"}.Over(web)
	if pod.Many() || !web.Many() || !(Target{Service: "web"}).Many() || (Target{Node: "n"}).Many() {
		t.Error("Many is wrong")
	}
	if pod.Key() != (Target{Namespace: "shop", Pod: "web-1"}).Key() {
		t.Errorf("the key of a pod is %q", pod.Key())
	}
	keys := map[string]bool{}
	for _, u := range []Target{web, {Namespace: "shop", Service: "web"}, {Namespace: "shop", Workload: "Job/web"}, {Namespace: "bar", Workload: "Deployment/web"},
		{Namespace: "shop", Workload: "Deployment/web", Node: "n"}, {Namespace: "shop", Workload: "Deployment/web", Container: "c"}} {
		if u.Key() == "" || keys[u.Key()] {
			t.Errorf("key %q of %v is taken", u.Key(), u)
		}
		keys[u.Key()] = true
	}
}
