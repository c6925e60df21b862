package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// stopLimit is how long one clean-up may take.
const stopLimit = 15 * time.Second

// cleanups undoes a start, in the opposite order.
type cleanups struct {
	log  *slog.Logger
	list []cleanup
}

type cleanup struct {
	name string
	run  func(context.Context) error
}

func (c *cleanups) add(name string, run func(context.Context) error) {
	c.list = append(c.list, cleanup{name, run})
}

// run runs every clean-up once, the last added first. One that does not end in
// time is left behind, and said so; the others run all the same.
func (c *cleanups) run(ctx context.Context) error {
	var errs []error
	for _, one := range slices.Backward(c.list) {
		if err := one.within(ctx, stopLimit); err != nil {
			c.log.Error("stopping", "part", one.name, "error", err)
			errs = append(errs, fmt.Errorf("stopping the %s: %w", one.name, err))
		}
	}
	c.list = nil
	return errors.Join(errs...)
}

func (c cleanup) within(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
