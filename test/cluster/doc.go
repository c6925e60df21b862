// Package cluster runs tests on a real one-node Kubernetes: etcd, the
// Kubernetes servers and a kubelet built from Go modules into one program
// (folder kubeone), with Debian's containerd, runc and CNI plugins unpacked into
// a cache, on this machine's kernel. No container engine, no registry, no
// network once the cache is filled.
//
// A package's TestMain hands over to Main, which runs the test binary again in
// private pid, mount and network namespaces, where every port and path of the
// servers is free. The node starts when the first test asks for it (Node.Need)
// and is ready some 5 s later. When the test binary ends, however it ends, the
// kernel kills every process of it; its cgroup directories are removed, at the
// latest by the next run.
//
//	outer   the test binary as `go test` starts it: fills the cache, then waits
//	init    process 1 of the namespaces: mounts, loopback, reaps orphans
//	inner   runs the tests and starts the servers
//
// It needs root, and cgroups of version 1 or 2.
package cluster
