// Package systemd acts on units of a plain host, through the service manager that
// owns them: what is set here systemd knows, and does not set back as it does with
// a cgroup's own files. It is one of the systems below remediate/action; the flow
// reaches it through remediate.Executor.
package systemd
