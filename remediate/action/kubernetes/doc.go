// Package kubernetes acts on a cluster through its API server: it resizes running
// containers in place, cordons and drains nodes, scales and rolls workloads,
// takes pods out of their Services, changes configuration and traffic, and runs
// Jobs. It is run by package remediate.
//
// Most actions only compute an edit (edit.go): one object's fields, what they
// were and shall be. The rest is done once for all of them: converge.go writes an
// edit, editor.go previews it, waits until the cluster shows it, and undoes it.
//
// README.md says what each action checks, what it needs to be allowed and what it
// leaves to others.
package kubernetes
