package probe

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTogether(t *testing.T) {
	if err := errors.Join(Ready(t.Context()), Opened(t.Context())); err != nil {
		t.Errorf("alone: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		together := NewTogether(2 * time.Second)
		begun := time.Now()
		var opened [3]time.Duration
		var helped time.Duration
		var wg sync.WaitGroup
		var joined [4]context.Context
		var leave [4]func()
		for i := range joined {
			joined[i], leave[i] = together.Join(t.Context())
		}
		for i := range opened {
			wg.Go(func() {
				defer leave[i]() // again, which is nothing
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				if err := Ready(joined[i]); err != nil {
					t.Error(err)
				}
				opened[i] = time.Since(begun)
			})
		}
		wg.Go(func() {
			if err := Opened(joined[3]); err != nil { // which is not to be ready
				t.Error(err)
			}
			helped = time.Since(begun)
		})
		time.Sleep(300 * time.Millisecond)
		leave[3]() // had nothing to measure
		wg.Wait()
		for i, d := range append(opened[:], helped) {
			if d != 300*time.Millisecond {
				t.Errorf("%d opened after %v", i, d)
			}
		}
	})
}

func TestTogetherIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		together := NewTogether(2 * time.Second)
		first, leave := together.Join(t.Context())
		defer leave()
		_, hangs := together.Join(t.Context())
		defer hangs()
		begun := time.Now()
		if err := Ready(first); err != nil || time.Since(begun) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(first)
		cancel(gone)
		if err := Ready(ctx); !errors.Is(err, gone) {
			t.Error(err)
		}
	})
}
