package incident

import "testing"

func TestPath(t *testing.T) {
	pod := Target{Namespace: "shop", Pod: "front-1"}
	for want, v := range map[string]*Investigation{
		"": nil,
		"front -> cart -> stock (cpu.throttled)": {Root: 2, Hops: []Hop{
			{Target: pod, Service: "front", Cause: NetPeerSlow}, {Service: "cart"}, {Target: Target{PID: 7}, Service: "stock", Cause: CPUThrottled}}},
		"front-1 -> nginx.service (cpu.busy) -> pid 7": {Root: 1, Hops: []Hop{
			{Target: pod}, {Target: Target{Node: "n1", Unit: "nginx.service"}, Cause: CPUBusy}, {Target: Target{PID: 7, Cgroup: "/c"}}}},
		"stock -> node n1": {Hops: []Hop{{Target: Target{Cgroup: "/sys/fs/cgroup/cpu/shop/stock"}}, {Target: Target{Node: "n1"}}}},
	} {
		if got := v.Path(); got != want {
			t.Errorf("path %q, want %q", got, want)
		}
	}
	if got := (&Investigation{Hops: []Hop{{Target: pod, Cause: CPUBusy}}}).Path(); got != "" {
		t.Errorf("one hop is the path %q", got)
	}
}
