package workloads

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kmend/kmend/deploy/rbac"
)

// Options of Workloads. Start from DefaultOptions.
type Options struct {
	// Client talks to the Kubernetes API. It must have no time limit of its own for a
	// request: a watch is one that lasts.
	Client kubernetes.Interface
	// Cluster is the cluster's name in the targets that are answered.
	Cluster string
	// Patience is how long a question waits for the first list of what it needs. Less
	// than whoever asks waits for the answer, which says what is missing.
	Patience time.Duration
	Logger   *slog.Logger
}

// DefaultOptions is without a client.
func DefaultOptions() Options {
	return Options{Patience: 4 * time.Second, Logger: slog.New(slog.DiscardHandler)}
}

func (o Options) validate() error {
	switch {
	case o.Client == nil:
		return errors.New("option Client is nil; set kubernetes.enabled in kmend.yaml")
	case o.Patience < 10*time.Millisecond || o.Patience > time.Minute:
		return fmt.Errorf("option Patience is %s; it must be from 10ms to 1m", o.Patience)
	case o.Logger == nil:
		return errors.New("option Logger is nil; use slog.New(slog.DiscardHandler) for none")
	}
	return nil
}

// Workloads answers from what it has seen of the cluster. It is safe for concurrent
// use, also before Run: a question waits for what it needs.
type Workloads struct {
	opts    Options
	made    time.Time
	factory informers.SharedInformerFactory
	pods, services, slices,
	replicaSets, jobs *kind
}

// kind is one kind of objects that is watched.
type kind struct {
	cache.SharedIndexInformer
	resource, group string

	mu  sync.Mutex
	err error // why the last list or watch ended
}

// byIP finds pods by their own address and services by theirs.
const byIP = "ip"

// New makes Workloads. It asks nothing before Run.
func New(o Options) (*Workloads, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("making the view of the cluster: %w", err)
	}
	f := informers.NewSharedInformerFactoryWithOptions(o.Client, 0, informers.WithTransform(trim))
	w := &Workloads{
		opts: o, made: time.Now(), factory: f,
		pods:        &kind{SharedIndexInformer: f.Core().V1().Pods().Informer(), resource: "pods"},
		services:    &kind{SharedIndexInformer: f.Core().V1().Services().Informer(), resource: "services"},
		slices:      &kind{SharedIndexInformer: f.Discovery().V1().EndpointSlices().Informer(), resource: "endpointslices", group: "discovery.k8s.io"},
		replicaSets: &kind{SharedIndexInformer: f.Apps().V1().ReplicaSets().Informer(), resource: "replicasets", group: "apps"},
		jobs:        &kind{SharedIndexInformer: f.Batch().V1().Jobs().Informer(), resource: "jobs", group: "batch"},
	}
	for _, k := range w.kinds() {
		if err := k.SetWatchErrorHandlerWithContext(w.failed(k)); err != nil {
			return nil, fmt.Errorf("watching %s: %w", k.resource, err)
		}
	}
	if err := errors.Join(w.pods.AddIndexers(cache.Indexers{byIP: podIPs}), w.services.AddIndexers(cache.Indexers{byIP: serviceIPs})); err != nil {
		return nil, fmt.Errorf("indexing addresses: %w", err)
	}
	return w, nil
}

func (w *Workloads) kinds() []*kind {
	return []*kind{w.pods, w.services, w.slices, w.replicaSets, w.jobs}
}

// firstLists is how long the first lists of a large cluster may take: those of 50,000
// pods were some seconds.
const firstLists = time.Minute

// Listed waits for the first lists, unless they failed: an alert that comes when the
// program has just started waits for more than a Patience. An API server that cannot be
// reached has the same minute to come.
func (w *Workloads) Listed(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, w.made.Add(firstLists))
	defer cancel()
	for _, k := range w.kinds() {
		cache.WaitForCacheSync(ctx.Done(), func() bool { return k.HasSynced() || k.lastError() != nil })
	}
}

// Run watches the cluster until ctx ends. What cannot be watched is tried again, and
// is the answer to who asks for it.
func (w *Workloads) Run(ctx context.Context) {
	w.factory.StartWithContext(ctx)
	<-ctx.Done()
	w.factory.Shutdown()
}

// failed remembers why a kind cannot be watched.
func (w *Workloads) failed(k *kind) cache.WatchErrorHandlerWithContext {
	return func(ctx context.Context, _ *cache.Reflector, err error) {
		k.mu.Lock()
		k.err = err
		k.mu.Unlock()
		if ctx.Err() == nil && !apierrors.IsResourceExpired(err) {
			w.opts.Logger.Warn("the cluster is watched again later", "resource", k.resource, "error", err)
		}
	}
}

func (k *kind) lastError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// need waits for the first list of each kind, and says why there is none.
func (w *Workloads) need(ctx context.Context, kinds ...*kind) error {
	waiting, cancel := context.WithTimeout(ctx, w.opts.Patience)
	defer cancel()
	for _, k := range kinds {
		cache.WaitForCacheSync(waiting.Done(), func() bool { return k.HasSynced() || refused(k.lastError()) })
		if k.HasSynced() {
			continue
		}
		switch err := k.lastError(); {
		case refused(err):
			return fmt.Errorf("the Kubernetes API does not let kmend list and watch %s (%s); %s grants it: %s", k.resource, apierrors.ReasonForError(err), rbac.Watching, rbac.Remedy(rbac.Watching))
		case err != nil:
			return fmt.Errorf("listing %s of the cluster: %w", k.resource, err)
		}
		return fmt.Errorf("the list of the cluster's %s has not come within %s", k.resource, w.opts.Patience)
	}
	return nil
}
