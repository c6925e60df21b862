package diagnose

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kmend/kmend/incident"
)

// running is a pod on node n1 with the containers app and sidecar.
func running() *corev1.Pod {
	on := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, ContainerID: "containerd://id-" + name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	}
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "u1"},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{on("sidecar"), on("app")}},
	}
}

func TestPlace(t *testing.T) {
	target := incident.Target{Namespace: "shop", Pod: "p", Container: "app"}
	for name, c := range map[string]struct {
		change func(*corev1.Pod, *incident.Target)
		want   incident.Target
		says   string
	}{
		"container":      {func(*corev1.Pod, *incident.Target) {}, incident.Target{Namespace: "shop", Pod: "p", Container: "app", Node: "n1", PodUID: "u1", ContainerID: "id-app"}, ""},
		"all of the pod": {func(_ *corev1.Pod, t *incident.Target) { t.Container = "" }, incident.Target{Namespace: "shop", Pod: "p", Node: "n1", PodUID: "u1"}, ""},
		"the label's node gives way": {func(_ *corev1.Pod, t *incident.Target) { t.Container, t.Node = "", "exporters" },
			incident.Target{Namespace: "shop", Pod: "p", Node: "n1", PodUID: "u1"}, ""},
		"static pod": {func(p *corev1.Pod, t *incident.Target) { p.Annotations, t.Container = labels{mirrorUID: "hash"}, "" },
			incident.Target{Namespace: "shop", Pod: "p", Node: "n1", PodUID: "hash"}, ""},
		"another pod":   {func(_ *corev1.Pod, t *incident.Target) { t.PodUID = "u0" }, incident.Target{}, "another pod of its name"},
		"not scheduled": {func(p *corev1.Pod, _ *incident.Target) { p.Spec.NodeName = "" }, incident.Target{}, "not scheduled: it has no node yet"},
		"ended":         {func(p *corev1.Pod, _ *incident.Target) { p.Status.Phase = corev1.PodFailed }, incident.Target{}, "has ended (Failed)"},
		"no container":  {func(_ *corev1.Pod, t *incident.Target) { t.Container = "web" }, incident.Target{}, "it has: sidecar, app"},
		"no status":     {func(p *corev1.Pod, _ *incident.Target) { p.Status.ContainerStatuses = nil }, incident.Target{}, "it has: none"},
		"crash loop": {func(p *corev1.Pod, _ *incident.Target) {
			p.Status.ContainerStatuses[1].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}, incident.Target{}, "does not run: waiting, CrashLoopBackOff"},
	} {
		t.Run(name, func(t *testing.T) {
			pod, asked := running(), target
			c.change(pod, &asked)
			got, err := place(asked, pod)
			if c.says != "" {
				if why, ok := errors.AsType[obstacleError](err); !ok || !strings.Contains(string(why), c.says) {
					t.Fatalf("error = %v; want an obstacle with %q", err, c.says)
				}
			} else if err != nil || got != c.want {
				t.Fatalf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

// api is a client of a server that answers every request as given.
func api(t *testing.T, answer func(*http.Request) (int, any)) kubernetes.Interface {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := answer(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(s.Close)
	c, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func status(code int, reason metav1.StatusReason) (int, any) {
	return code, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reason}
}

func TestLocateOverTheAPI(t *testing.T) {
	target := incident.Target{Namespace: "shop", Pod: "p"}
	for name, c := range map[string]struct {
		code   int
		reason metav1.StatusReason
		says   string
	}{
		"gone":      {404, metav1.StatusReasonNotFound, "is gone"},
		"forbidden": {403, metav1.StatusReasonForbidden, "grant it get on pods"},
	} {
		_, err := podLookup{api(t, func(*http.Request) (int, any) { return status(c.code, c.reason) })}.locate(t.Context(), target)
		if why, ok := errors.AsType[obstacleError](err); !ok || !strings.Contains(string(why), c.says) {
			t.Errorf("%s: %v; want an obstacle with %q", name, err, c.says)
		}
	}
	_, err := podLookup{api(t, func(*http.Request) (int, any) { return status(500, metav1.StatusReasonInternalError) })}.locate(t.Context(), target)
	if _, ok := errors.AsType[obstacleError](err); ok || err == nil {
		t.Errorf("server error: %v; want an error that asks to try again", err)
	}
	got, err := podLookup{api(t, func(*http.Request) (int, any) { return 200, running() })}.locate(t.Context(), target)
	if err != nil || got.Node != "n1" || got.PodUID != "u1" {
		t.Errorf("found: %+v, %v", got, err)
	}
}

func TestAgentPods(t *testing.T) {
	agentPod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := running()
		p.Name, p.Status.PodIP = "kmend-agent-1", "fd00::1"
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		change(p)
		return p
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		url  string
		says string
	}{
		"ready":      {agentPod(func(*corev1.Pod) {}), "https://[fd00::1]:9791", ""},
		"not ready":  {agentPod(func(p *corev1.Pod) { p.Status.Conditions = nil }), "", "pod kmend-agent-1 is not ready"},
		"deleted":    {agentPod(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} }), "", "being deleted"},
		"no address": {agentPod(func(p *corev1.Pod) { p.Status.PodIP, p.Status.Phase = "", corev1.PodPending }), "", "pending without an address"},
		"elsewhere":  {agentPod(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), "", "no agent is ready on node n1 (namespace kmend, selector app=kmend-agent)"},
	} {
		t.Run(name, func(t *testing.T) {
			var query string
			d := diagnoser(t, func(o *Options) {
				o.Kubernetes = api(t, func(r *http.Request) (int, any) {
					query = r.URL.Path + " " + r.URL.Query().Get("labelSelector") + " " + r.URL.Query().Get("fieldSelector")
					return 200, corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{*c.pod}}
				})
				o.AgentPods = &AgentPods{Namespace: "kmend", Selector: "app=kmend-agent", Port: 9791}
				o.Dial = func(url string) (Measurer, error) {
					if url != c.url {
						t.Errorf("dialled %s; want %s", url, c.url)
					}
					return idle("n1"), nil
				}
			})
			got, err := d.Diagnose(t.Context(), incident.Target{PID: 1, Node: "n1"}, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if query != "/api/v1/namespaces/kmend/pods app=kmend-agent spec.nodeName=n1" {
				t.Errorf("asked the API for %q", query)
			}
			if c.says != "" && !strings.Contains(got.Findings[0].Message, c.says) {
				t.Errorf("message = %q; want %q", got.Findings[0].Message, c.says)
			}
			if c.url != "" && got.Node.Name != "n1" {
				t.Errorf("not measured: %+v", got.Findings)
			}
		})
	}
}
