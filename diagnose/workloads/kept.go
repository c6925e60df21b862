package workloads

import (
	"cmp"
	"slices"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// meta is what is kept of every object: its names and what made it. An object of the
// API's own types takes more than 1 KB of memory even when all but its name is empty,
// and there is one of every pod of the cluster.
type meta struct {
	namespace, name, version string
	controller               string // KIND/NAME of what made it; empty: nobody did
}

// GetObjectMeta is for the informer, which keys objects by their names.
func (m *meta) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: m.namespace, Name: m.name, ResourceVersion: m.version}
}

// pod is what is kept of a pod.
type pod struct {
	meta
	uid        string // that the kubelet knows it by
	node       string
	labels     pairs
	containers []string
	ip         string   // also of its node
	ips        []string // of its own, while it is not at its end
	running    bool
	ended      bool
	unready    bool
}

// service is what is kept of a Service.
type service struct {
	meta
	selector map[string]string
	ips      []string
}

// slice is what is kept of an EndpointSlice.
type slice struct {
	meta
	service   string
	endpoints []endpoint
}

// endpoint is a pod, or else addresses.
type endpoint struct {
	pod       string
	addresses []string
}

// pairs are an object's labels, sorted, in less than half of a map's memory.
type pairs []pair

type pair struct{ key, value string }

func pairsOf(m map[string]string) pairs {
	out := make(pairs, 0, len(m))
	for k, v := range m {
		out = append(out, pair{shared(k), shared(v)})
	}
	slices.SortFunc(out, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	return out
}

// Lookup is a label's value, and whether there is the label.
func (p pairs) Lookup(key string) (string, bool) {
	i, ok := slices.BinarySearchFunc(p, key, func(a pair, k string) int { return cmp.Compare(a.key, k) })
	if !ok {
		return "", false
	}
	return p[i].value, true
}

// Get is a label's value, "" without the label.
func (p pairs) Get(key string) string { v, _ := p.Lookup(key); return v }

// Has says whether there is the label.
func (p pairs) Has(key string) bool { _, ok := p.Lookup(key); return ok }

var _ labels.Labels = pairs(nil) // for selectors

// shared is the same string once for all who have it: nodes, namespaces, labels and
// owners are those of many pods, and every decoded object brings its own.
func shared(s string) string { return unique.Make(s).Value() }
