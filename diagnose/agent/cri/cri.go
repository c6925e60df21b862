// Package cri asks the node's container runtime which pod a name means. Only
// `kmend diagnose --pod` without a cluster needs it: everyone else knows the
// pod's UID from the API server.
package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ErrNotFound: the runtime answered and has no such pod or container running.
var ErrNotFound = errors.New("not found by the container runtime")

type notFound struct{ message string }

func (e *notFound) Error() string { return e.message }
func (e *notFound) Unwrap() error { return ErrNotFound }

// sockets are where the runtimes listen by default.
var sockets = []string{
	"/run/containerd/containerd.sock",
	"/run/crio/crio.sock",
	"/run/cri-dockerd.sock",
	"/run/k3s/containerd/containerd.sock",
	"/var/snap/microk8s/common/run/containerd.sock",
}

// timeout of one lookup: a runtime that hangs must not hang the diagnosis.
const timeout = 5 * time.Second

// Pod is a running pod as the runtime knows it.
type Pod struct {
	UID         string
	ContainerID string // empty unless a container was asked for
}

// Lookup finds the running pod namespace/name and, if container is not empty,
// its running container. socket is a path or unix:///path; empty: the first of
// the usual places that exists.
func Lookup(ctx context.Context, socket, namespace, name, container string) (Pod, error) {
	path, err := find(socket)
	if err != nil {
		return Pod{}, err
	}
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return Pod{}, fmt.Errorf("connecting to the container runtime at %s: %w", path, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p, err := lookup(ctx, runtime.NewRuntimeServiceClient(conn), namespace, name, container)
	if s, ok := status.FromError(err); ok && err != nil {
		return Pod{}, fmt.Errorf("asking the container runtime at %s: %s: %s", path, s.Code(), s.Message())
	}
	return p, err
}

func find(socket string) (string, error) {
	if socket != "" {
		path := strings.TrimPrefix(socket, "unix://")
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("no container runtime socket: %w; name the right one with --cri-socket or CONTAINER_RUNTIME_ENDPOINT", err)
		}
		return path, nil
	}
	for _, path := range sockets {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no container runtime socket at %s: name it with --cri-socket or CONTAINER_RUNTIME_ENDPOINT, or name the pod's cgroup with --cgroup", strings.Join(sockets, ", "))
}

func lookup(ctx context.Context, client runtime.RuntimeServiceClient, namespace, name, container string) (Pod, error) {
	labels := map[string]string{"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.name": name}
	pods, err := client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{
		LabelSelector: labels,
		State:         &runtime.PodSandboxStateValue{State: runtime.PodSandboxState_SANDBOX_READY},
	}})
	if err != nil {
		return Pod{}, err
	}
	if len(pods.Items) == 0 {
		return Pod{}, &notFound{fmt.Sprintf("no running pod %s/%s on this node; `crictl pods` lists them", namespace, name)}
	}
	newest := pods.Items[0]
	for _, p := range pods.Items {
		if p.CreatedAt > newest.CreatedAt {
			newest = p
		}
	}
	pod := Pod{UID: newest.GetMetadata().GetUid()}
	if container == "" {
		return pod, nil
	}
	list, err := client.ListContainers(ctx, &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{
		PodSandboxId: newest.Id,
		State:        &runtime.ContainerStateValue{State: runtime.ContainerState_CONTAINER_RUNNING},
	}})
	if err != nil {
		return Pod{}, err
	}
	var names []string
	for _, c := range list.Containers {
		if c.GetMetadata().GetName() == container {
			pod.ContainerID = c.Id
			return pod, nil
		}
		names = append(names, c.GetMetadata().GetName())
	}
	return Pod{}, &notFound{fmt.Sprintf("pod %s/%s has no running container %q; it has: %s", namespace, name, container, strings.Join(names, ", "))}
}
