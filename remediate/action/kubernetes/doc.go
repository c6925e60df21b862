// Package kubernetes acts on a cluster through its API server: the action
// kubernetes.resize_cpu raises the CPU limit of a running container in place,
// through the pod's resize subresource. It is run by package remediate.
//
// README.md says what it checks, what it needs to be allowed and what it leaves
// to others.
package kubernetes
