package cri

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a runtime with the pods and containers of a node; it filters as
// containerd does.
type fake struct {
	runtime.UnimplementedRuntimeServiceServer
	pods       []*runtime.PodSandbox
	containers []*runtime.Container
}

func (f fake) ListPodSandbox(_ context.Context, r *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	out := &runtime.ListPodSandboxResponse{}
	for _, p := range f.pods {
		match := p.State == r.Filter.GetState().GetState()
		for k, v := range r.Filter.GetLabelSelector() {
			match = match && p.Labels[k] == v
		}
		if match {
			out.Items = append(out.Items, p)
		}
	}
	return out, nil
}

func (f fake) ListContainers(_ context.Context, r *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	out := &runtime.ListContainersResponse{}
	for _, c := range f.containers {
		if c.PodSandboxId == r.Filter.GetPodSandboxId() && c.State == r.Filter.GetState().GetState() {
			out.Containers = append(out.Containers, c)
		}
	}
	return out, nil
}

func serve(t *testing.T, s runtime.RuntimeServiceServer) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cri.sock")
	ln, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(srv, s)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return path
}

func sandbox(id, namespace, name, uid string, created int64, state runtime.PodSandboxState) *runtime.PodSandbox {
	return &runtime.PodSandbox{
		Id: id, CreatedAt: created, State: state, Metadata: &runtime.PodSandboxMetadata{Uid: uid},
		Labels: map[string]string{"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.name": name},
	}
}

func container(id, pod, name string, state runtime.ContainerState) *runtime.Container {
	return &runtime.Container{Id: id, PodSandboxId: pod, State: state, Metadata: &runtime.ContainerMetadata{Name: name}}
}

func TestLookup(t *testing.T) {
	const ready, running = runtime.PodSandboxState_SANDBOX_READY, runtime.ContainerState_CONTAINER_RUNNING
	socket := serve(t, fake{
		pods: []*runtime.PodSandbox{
			sandbox("s1", "shop", "api-0", "uid-old", 1, runtime.PodSandboxState_SANDBOX_NOTREADY),
			sandbox("s2", "shop", "api-0", "uid-older", 2, ready), // a StatefulSet's last pod, not yet removed
			sandbox("s3", "shop", "api-0", "uid-new", 3, ready),
			sandbox("s4", "other", "api-0", "uid-other", 9, ready),
		},
		containers: []*runtime.Container{
			container("c1", "s3", "api", runtime.ContainerState_CONTAINER_EXITED),
			container("c2", "s3", "api", running),
			container("c3", "s3", "proxy", running),
			container("c4", "s2", "api", running),
		},
	})
	for _, c := range []struct {
		namespace, name, container string
		want                       Pod
	}{
		{"shop", "api-0", "", Pod{"uid-new", ""}},
		{"shop", "api-0", "api", Pod{"uid-new", "c2"}},
		{"other", "api-0", "", Pod{"uid-other", ""}},
	} {
		for _, s := range []string{socket, "unix://" + socket} {
			got, err := Lookup(t.Context(), s, c.namespace, c.name, c.container)
			if err != nil || got != c.want {
				t.Errorf("%+v: %+v, %v", c, got, err)
			}
		}
	}
	_, err := Lookup(t.Context(), socket, "shop", "api-0", "db")
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "it has: api, proxy") {
		t.Errorf("a container that is not there: %v", err)
	}
	_, err = Lookup(t.Context(), socket, "shop", "api-1", "")
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "crictl pods") {
		t.Errorf("a pod that is not there: %v", err)
	}
}

func TestRuntimesThatDoNotAnswer(t *testing.T) {
	silent := serve(t, runtime.UnimplementedRuntimeServiceServer{})
	for socket, text := range map[string]string{
		silent:              "Unimplemented",
		"/nonexistent.sock": "--cri-socket",
		t.TempDir():         "asking the container runtime",
	} {
		_, err := Lookup(t.Context(), socket, "a", "b", "")
		if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", socket, err, text)
		}
	}
}
