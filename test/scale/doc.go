// Package scale measures `kmend serve` in large clusters: a real API server with
// etcd, fake nodes and pods by KWOK, and a stand-in for the agents of all nodes. It
// asks what one incident costs the API server and the responder, and whether that
// grows with the cluster. `make test` runs it at 10 and 200 nodes, `make scale` at
// 10, 1,000 and 5,000 and writes docs/scale.md.
//
// There are no controllers and no scheduler: the tests write what those would, and
// KWOK writes what kubelets would. What is measured on a node is not the matter here
// (test/bench and test/lab are about that): the agents' stand-in answers at once.
package scale
