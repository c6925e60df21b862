package webhook

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Options of a webhook handler. Start from DefaultOptions.
type Options struct {
	// BearerTokenFile holds the token that a sender presents as
	// "Authorization: Bearer TOKEN". With neither it nor BasicUsername anybody
	// who can connect may send: the caller decides whether that is all right.
	BearerTokenFile string
	// BasicUsername and BasicPasswordFile are for HTTP basic authentication.
	// With a token as well, either is enough.
	BasicUsername     string
	BasicPasswordFile string
	// MaxBodyBytes bounds a body; what is larger is answered with 413.
	MaxBodyBytes int64
	// RetryAfter is what a 503 asks the sender to wait.
	RetryAfter time.Duration
	Logger     *slog.Logger
	Metrics    *Metrics // required
}

// DefaultOptions takes bodies of 4 MiB from anybody.
func DefaultOptions() Options {
	return Options{MaxBodyBytes: 4 << 20, RetryAfter: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}
}

func (o Options) validate() error {
	switch {
	case o.MaxBodyBytes < 1<<10 || o.MaxBodyBytes > 64<<20:
		return fmt.Errorf("option MaxBodyBytes is %d; it must be from 1024 to %d", o.MaxBodyBytes, 64<<20)
	case o.RetryAfter < time.Second || o.RetryAfter > time.Hour:
		return fmt.Errorf("option RetryAfter is %s; it must be from 1s to 1h", o.RetryAfter)
	case (o.BasicUsername == "") != (o.BasicPasswordFile == ""):
		return errors.New("options BasicUsername and BasicPasswordFile go together; set both or neither")
	case o.Logger == nil:
		return errors.New("option Logger is nil; use slog.New(slog.DiscardHandler) for none")
	case o.Metrics == nil:
		return errors.New("option Metrics is nil; use NewMetrics")
	}
	return nil
}
