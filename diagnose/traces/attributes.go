package traces

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/kmend/kmend/incident"
)

// ofResource are the attributes that are kept of a span's resource, by OpenTelemetry's
// names: where it ran. A span may have them, too, about what it handles: an operator's
// about a pod.
func ofResource(key string) bool {
	switch key {
	case clusterName, podName, namespaceName, containerName, podUID, nodeName, hostName, containerID, processID:
		return true
	}
	return false
}

// ofSpan are those that are kept of the span itself: whom it called.
func ofSpan(key string) bool {
	switch key {
	case peerService, peerAddress, peerPort, serverAddress, serverPort, dbSystem, oldDBSystem:
		return true
	}
	return false
}

const (
	clusterName   = "k8s.cluster.name"
	podName       = "k8s.pod.name"
	podUID        = "k8s.pod.uid"
	namespaceName = "k8s.namespace.name"
	containerName = "k8s.container.name"
	nodeName      = "k8s.node.name"
	hostName      = "host.name"
	containerID   = "container.id"
	processID     = "process.pid"

	peerService   = "peer.service"
	peerAddress   = "network.peer.address"
	peerPort      = "network.peer.port"
	serverAddress = "server.address"
	serverPort    = "server.port"
	dbSystem      = "db.system.name"
	oldDBSystem   = "db.system"
)

// What names can be, as in package diagnose: RFC 1123, and a runtime's ids.
var (
	label     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
	uuid      = regexp.MustCompile(`^[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$`)
)

// maxPID is PID_MAX_LIMIT of a 64-bit kernel.
const maxPID = 4 << 20

// target is where a span's resource says that it ran: a pod, else a process of a
// host. What is no name of such a thing is left out. A pid inside a container is
// not the node's, so it counts only without one.
func target(a map[string]string) (t incident.Target) {
	take := func(key string, form *regexp.Regexp) string {
		if v := strings.ToLower(a[key]); form.MatchString(v) { // host names may have capitals; kmend's nodes have none
			return v
		}
		return ""
	}
	t.Cluster, t.Node = take(clusterName, subdomain), take(nodeName, subdomain)
	pod, namespace := take(podName, subdomain), take(namespaceName, label)
	if pod != "" && namespace != "" {
		t.Pod, t.Namespace, t.Container = pod, namespace, take(containerName, label)
		t.PodUID = take(podUID, uuid)
		return t
	}
	if a[podName] != "" || a[containerID] != "" {
		return incident.Target{Cluster: t.Cluster} // in a container that cannot be named: the pid is not the node's
	}
	if t.Node == "" {
		t.Node = take(hostName, subdomain)
	}
	pid, err := strconv.Atoi(a[processID])
	if err != nil || pid < 1 || pid > maxPID || t.Node == "" {
		return incident.Target{Cluster: t.Cluster}
	}
	t.PID = pid
	return t
}

// peer is what a client's span says of the server that it called: its name, and
// its address where that is an IP address.
func peer(a map[string]string) (name string, address netip.AddrPort) {
	for _, keys := range [][2]string{{peerAddress, peerPort}, {serverAddress, serverPort}} {
		ip, err := netip.ParseAddr(a[keys[0]])
		port, portErr := strconv.ParseUint(a[keys[1]], 10, 16)
		if err == nil && portErr == nil && port > 0 {
			address = netip.AddrPortFrom(ip.Unmap(), uint16(port))
			break
		}
	}
	for _, key := range []string{peerService, dbSystem, oldDBSystem, serverAddress, peerAddress} {
		if name = a[key]; name != "" {
			return name, address
		}
	}
	return "", address
}
