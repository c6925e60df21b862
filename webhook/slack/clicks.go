package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"time"
)

// Reply is what who clicked is told, and nobody else; the zero Reply is nothing.
type Reply struct {
	Text   string          // mrkdwn: what is not kmend's own is escaped
	Blocks json.RawMessage // a JSON array of blocks, or nil
}

// Answerer does what a click asks for. It is not called with clicks that are
// forged, and all the others are its to judge.
type Answerer interface {
	Answer(ctx context.Context, c Click) Reply
}

// Options of Clicks. Start from DefaultOptions.
type Options struct {
	Answerer Answerer
	Logger   *slog.Logger
	Metrics  *Metrics
	// HooksURL is where every response_url must be: nothing is sent elsewhere.
	HooksURL string
	Timeout  time.Duration // of the work on one click
	Queue    int           // clicks that wait
	Workers  int
}

// DefaultOptions is everything but the parts.
func DefaultOptions() Options {
	return Options{Logger: slog.New(slog.DiscardHandler), HooksURL: "https://hooks.slack.com/", Timeout: 30 * time.Second, Queue: 64, Workers: 4}
}

func (o Options) validate() error {
	u, err := url.Parse(o.HooksURL)
	switch {
	case o.Answerer == nil || o.Logger == nil || o.Metrics == nil:
		return errors.New("options Answerer, Logger and Metrics must be set")
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("option HooksURL is not a URL; want https://hooks.slack.com/")
	case o.Timeout <= 0 || o.Queue < 1 || o.Workers < 1:
		return fmt.Errorf("options Timeout (%s), Queue (%d) and Workers (%d) must be more than 0", o.Timeout, o.Queue, o.Workers)
	}
	return nil
}

// Clicks is the work on clicks, however they come in.
type Clicks struct {
	opts  Options
	queue chan Click
	hooks *url.URL
	http  *http.Client
}

// NewClicks makes Clicks; Run makes it work.
func NewClicks(o Options) (*Clicks, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("slack clicks: %w", err)
	}
	hooks, err := url.Parse(o.HooksURL)
	if err != nil {
		return nil, fmt.Errorf("slack clicks: %w", err)
	}
	return &Clicks{opts: o, queue: make(chan Click, o.Queue), hooks: hooks, http: newHTTP()}, nil
}

// Take hands a click over without waiting; false says that there is no room.
func (c *Clicks) Take(one Click) bool {
	select {
	case c.queue <- one:
		return true
	default:
		return false
	}
}

// Run works on clicks until ctx ends, and then on those that were taken: Slack
// has shown who clicked that they were.
func (c *Clicks) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for range c.opts.Workers {
		wg.Go(func() { c.work(ctx) })
	}
	wg.Wait()
	c.http.CloseIdleConnections()
}

func (c *Clicks) work(ctx context.Context) {
	for {
		select {
		case one := <-c.queue:
			c.one(context.WithoutCancel(ctx), one)
		case <-ctx.Done():
			for {
				select {
				case one := <-c.queue:
					c.one(context.WithoutCancel(ctx), one)
				default:
					return
				}
			}
		}
	}
}

// one does a click and tells who clicked what came of it.
func (c *Clicks) one(ctx context.Context, one Click) {
	work, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	reply := c.answer(work, one)
	if reply.Text == "" {
		return
	}
	if err := c.tell(ctx, one.ResponseURL, reply); err != nil {
		c.opts.Metrics.count(resultUntold)
		c.opts.Logger.Warn("who clicked was not told", "incident", one.Incident, "user", one.User, "error", err)
	}
}

// answer is the next stage's word. One that panics or takes too long is an
// answer too: somebody waits.
func (c *Clicks) answer(ctx context.Context, one Click) Reply {
	done := make(chan Reply, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				c.opts.Logger.Error("click panicked", "incident", one.Incident, "panic", v, "stack", string(debug.Stack()))
				done <- Reply{Text: "kmend has an internal error; its log says more. Look at the message, or run `kmend incidents show`."}
			}
		}()
		done <- c.opts.Answerer.Answer(ctx, one)
	}()
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		return Reply{Text: "kmend did not get an answer in time. Whether your click counts, the message will show."}
	}
}
