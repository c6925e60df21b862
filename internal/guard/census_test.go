package guard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/kmend/kmend/policies"
)

// crowd is a cluster of 1,200 pods, every tenth of which is not ready, whose API takes
// a second for each page.
type crowd struct {
	*census
	pages  atomic.Int64
	atOnce atomic.Int64
	fail   atomic.Bool
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{}
	client := fake.NewClientset(zoned("node-0", ""), zoned("node-1", "a"), zoned("node-2", "a"))
	client.PrependReactor("list", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if c.atOnce.Add(1) > 1 {
			t.Error("two pages are asked for at the same time")
		}
		defer c.atOnce.Add(-1)
		c.pages.Add(1)
		time.Sleep(time.Second)
		if c.fail.Load() {
			return true, nil, errors.New("no answer")
		}
		o := a.(k8stesting.ListActionImpl).ListOptions
		if o.Limit != page {
			t.Errorf("a page of %d pods is asked for", o.Limit)
		}
		from := 0
		_, _ = fmt.Sscan(o.Continue, &from)
		list := &corev1.PodList{}
		for i := from; i < min(from+page, 1200); i++ {
			p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), Namespace: fmt.Sprint("ns-", i%2)}, Spec: corev1.PodSpec{NodeName: fmt.Sprint("node-", i%3)}}
			if i%10 != 0 {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			}
			list.Items = append(list.Items, p)
		}
		if from+page < 1200 {
			list.Continue = fmt.Sprint(from + page)
		}
		return true, list, nil
	})
	c.census = newCensus(client)
	return c
}

func zoned(name, zone string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if zone != "" {
		n.Labels = map[string]string{corev1.LabelTopologyZone: zone}
	}
	return n
}

// Hundreds who ask at the same time are told by two counts, one after the other: that
// which was under way was begun before most of them asked.
func TestCensusIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				got, err := c.take(t.Context())
				if err != nil || got.cluster != (policies.Extent{Total: 1200, Disrupted: 120}) || got.nodes["node-0"].Total != 400 || got.namespaces["ns-1"].Total != 600 ||
					got.zones["a"].Total != 800 || got.zones[""].Total != 400 {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		wg.Wait()
		if n := c.pages.Load(); n > 6 {
			t.Errorf("200 looks took %d pages, want those of two counts", n)
		}
	})
}

// Who asks while a count is under way is not told by that one: it is of before.
func TestCensusIsNoOlderThanTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		first := make(chan struct{})
		go func() { defer close(first); _, _ = c.take(t.Context()) }()
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		if _, err := c.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 5*time.Second || c.pages.Load() != 6 {
			t.Errorf("told after %s and %d pages, want two counts of three seconds", took, c.pages.Load())
		}
		<-first
	})
}

// One who gives up does not take the others along; an API that does not answer is
// everybody's error.
func TestCensusOfOneWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		blocker := make(chan struct{})
		go func() { defer close(blocker); _, _ = c.take(t.Context()) }()
		synctest.Wait()
		quitter := make(chan error, 1)
		go func() { _, err := c.take(ctx); quitter <- err }()
		synctest.Wait()
		if _, err := c.take(t.Context()); err != nil {
			t.Errorf("who waited with one who gave up: %v", err)
		}
		if err := <-quitter; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who gave up: %v", err)
		}
		<-blocker
		c.fail.Store(true)
		c.pages.Store(0)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := c.take(t.Context()); err == nil || err.Error() != "listing pods: no answer" {
					t.Errorf("error is %v", err)
				}
			})
		}
		wg.Wait()
		if n := c.pages.Load(); n > 2 {
			t.Errorf("20 were told after %d questions, want two", n)
		}
	})
}
