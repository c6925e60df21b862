package llm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/outbox"
)

// Incidents is where a Desk reads.
type Incidents interface {
	Get(ctx context.Context, id string) (incident.Incident, error)
}

// Reserved is what a Shelf says to who wants to write a summary.
type Reserved int

const (
	Elsewhere Reserved = iota // another replica writes it
	Here                      // nobody else does
	Done                      // it is there, or was given up
)

// Shelf keeps what was written, over restarts and for all replicas (internal/store).
type Shelf interface {
	// Reserve asks to be the one who writes the summary of an incident in a phase from
	// the facts of a digest, for a time. What was written from the same facts before is
	// the summary then.
	Reserve(ctx context.Context, id string, phase incident.Phase, digest string, held time.Duration) (Reserved, error)
	// Keep commits what came of it; a nil summary is that kmend's own counts.
	Keep(ctx context.Context, id string, phase incident.Phase, result string, s *incident.Summary) error
}

// DeskOptions are those of a Desk. Start from DefaultDeskOptions.
type DeskOptions struct {
	Writer    *Writer
	Incidents Incidents
	Shelf     Shelf
	Logger    *slog.Logger
	Pace      outbox.Pace
	// Late is how long after an incident came into its phase nobody waits for a
	// model's summary any more.
	Late time.Duration
}

// DefaultDeskOptions is everything but the parts.
func DefaultDeskOptions() DeskOptions {
	return DeskOptions{Logger: slog.New(slog.DiscardHandler), Late: 10 * time.Minute, Pace: outbox.Pace{Retry: 2 * time.Second}}
}

// Desk has summaries written one after the other, beside the flow: nobody waits for it,
// and those who post are told when one is there.
type Desk struct {
	DeskOptions
	box *outbox.Outbox
}

// NewDesk makes a Desk; Run makes it work.
func NewDesk(o DeskOptions) (*Desk, error) {
	switch {
	case o.Writer == nil, o.Incidents == nil, o.Shelf == nil, o.Logger == nil:
		return nil, errors.New("llm desk: options Writer, Incidents, Shelf and Logger must be set")
	case o.Late <= 0 || o.Pace.Interval < 0 || o.Pace.Retry <= 0:
		return nil, fmt.Errorf("llm desk: option Late is %s and Pace %+v; want more than 0, an interval of 0 or more, and a retry of more than 0", o.Late, o.Pace)
	}
	return &Desk{o, outbox.New()}, nil
}

// Changed says that an incident has changed; it returns at once.
func (d *Desk) Changed(id string, urgent bool) { d.box.Changed(id, urgent) }

// elsewhere is how long a summary is waited for that another replica writes.
const elsewhere = 5 * time.Second

var errElsewhere = errors.New("another replica writes it")

// Run writes until ctx ends. told hears of each incident with a new summary.
func (d *Desk) Run(ctx context.Context, told func(id string)) {
	d.box.Run(ctx, d.Pace, func(ctx context.Context, id string, again time.Duration) outbox.Result {
		fresh, err := d.write(ctx, id)
		switch {
		case errors.Is(err, errElsewhere):
			return outbox.Result{Err: err, After: elsewhere}
		case err != nil && ctx.Err() == nil:
			d.Logger.Warn("a summary waits for the storage", "incident", id, "again", again.String(), "error", err)
		}
		if fresh {
			told(id)
		}
		return outbox.Result{Err: err}
	})
}

// write has the summary of an incident written, if it needs one as it is now; fresh
// says that there is one now, or that there will be none.
func (d *Desk) write(ctx context.Context, id string) (fresh bool, err error) {
	inc, err := d.Incidents.Get(ctx, id)
	if err != nil {
		return false, err
	}
	switch {
	case inc.Phase != incident.AwaitingApproval && !inc.Phase.Closed():
		return false, nil
	case !needed(inc):
		return true, d.Shelf.Keep(ctx, id, inc.Phase, quiet, nil)
	case time.Since(inc.PhaseSince()) > d.Late:
		return true, d.Shelf.Keep(ctx, id, inc.Phase, tooLate, nil)
	}
	digest, err := d.Writer.Digest(inc)
	if err != nil {
		return true, errors.Join(err, d.Shelf.Keep(ctx, id, inc.Phase, isBroken, nil))
	}
	// The model may take Timeout, and what comes of it has to be written down.
	switch who, err := d.Shelf.Reserve(ctx, id, inc.Phase, digest, d.Writer.Timeout+time.Minute); {
	case err != nil:
		return false, err
	case who == Elsewhere:
		return false, errElsewhere
	case who == Done:
		return true, nil
	}
	s, result := d.Writer.Write(ctx, inc)
	if ctx.Err() != nil {
		return false, ctx.Err() // kmend stops: after the next start it is asked once more
	}
	if s.By == "" {
		return true, d.Shelf.Keep(ctx, id, inc.Phase, result, nil)
	}
	return true, d.Shelf.Keep(ctx, id, inc.Phase, result, &s)
}
