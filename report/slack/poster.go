package slack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/outbox"
)

// Incidents is where the poster reads.
type Incidents interface {
	// Latest is the last episode of the incident that id is an episode of.
	Latest(ctx context.Context, id string) (incident.Incident, error)
	// Get is one episode.
	Get(ctx context.Context, id string) (incident.Incident, error)
}

// Posted is the message about an incident, as it is kept.
type Posted struct {
	Incident string // its first episode: all have one message
	Channel  string
	TS       string // empty until it was posted
	Shown    string // digest of what it says
	Final    bool
	Notified string // of what a person is needed for, people heard last
	Told     string // how much of its thread is there; TellThread alone sets it
}

// Ledger keeps what was posted over a restart.
type Ledger interface {
	Message(ctx context.Context, id string) (Posted, error)
	KeepMessage(ctx context.Context, p Posted) error
	// ReserveMessage asks to be the one who posts the message of an incident that has
	// none yet; false: another replica of kmend is about to.
	ReserveMessage(ctx context.Context, id string) (bool, error)
	// TellThread keeps how much of a thread is there; false: it is not from any more,
	// because another replica writes it too.
	TellThread(ctx context.Context, id, from, to string) (bool, error)
}

// Route is where the message of an incident goes.
type Route struct {
	Channel string // id or name; empty: there is no message
	// Words are an operator's about alert and target, as mrkdwn; nil: kmend's own.
	Words func(incident.Incident) (string, error)
}

// errElsewhere: another replica is about to post the message.
var errElsewhere = errors.New("another replica is about to post it")

// elsewhere is how long it is waited for.
const elsewhere = 5 * time.Second

// Options of a Poster. Start from DefaultOptions.
type Options struct {
	Client    *Client
	Incidents Incidents
	Ledger    Ledger
	// Route says where a message is posted. One that is there is edited where it is.
	Route   func(incident.Incident) Route
	Buttons bool // clicks reach kmend
	Logger  *slog.Logger
	Metrics *Metrics
	// Interval is the least time between two messages or edits: Slack takes about
	// one a second in a channel.
	Interval time.Duration
	// Retry is how long a message waits that Slack did not take, the first time;
	// twice as long each time after, up to a minute.
	Retry time.Duration
}

// DefaultOptions is everything but the parts.
func DefaultOptions() Options {
	return Options{Logger: slog.New(slog.DiscardHandler), Interval: 1200 * time.Millisecond, Retry: 2 * time.Second}
}

func (o Options) validate() error {
	switch {
	case o.Client == nil, o.Incidents == nil, o.Ledger == nil, o.Logger == nil, o.Metrics == nil:
		return errors.New("options Client, Incidents, Ledger, Logger and Metrics must be set")
	case o.Route == nil:
		return errors.New("option Route must be set; it says which channel is told")
	case o.Interval < 0 || o.Retry <= 0:
		return fmt.Errorf("option Interval is %s and Retry %s; want 0 or more, and more than 0", o.Interval, o.Retry)
	}
	return nil
}

// Poster keeps one message for each incident up to date. It never holds up who
// tells it of a change, and what Slack does not take is tried again.
type Poster struct {
	Options
	box *outbox.Outbox
	// unkept is what was posted and could not be written down yet: without it the
	// next try would post it once more. Only Run has it.
	unkept map[string]Posted
	// noPictures: Slack does not let the app upload. Only Run has it.
	noPictures bool
}

// NewPoster makes a Poster; Run makes it work.
func NewPoster(o Options) (*Poster, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("slack poster: %w", err)
	}
	return &Poster{Options: o, box: outbox.New(), unkept: map[string]Posted{}}, nil
}

// Changed says that an incident has changed. It returns at once; several changes
// before its turn comes are one edit. Urgent ones come first: a person is asked.
func (p *Poster) Changed(id string, urgent bool) { p.box.Changed(id, urgent) }

// Run posts and edits until ctx ends.
func (p *Poster) Run(ctx context.Context) {
	p.box.Run(ctx, outbox.Pace{Interval: p.Interval, Retry: p.Retry}, func(ctx context.Context, id string, again time.Duration) outbox.Result {
		sent, err := p.turn(ctx, id)
		limited, isLimit := errors.AsType[*slack.RateLimitedError](err)
		switch {
		case err == nil:
			return outbox.Result{Sent: sent}
		case errors.Is(err, errElsewhere):
			return outbox.Result{Err: err, After: elsewhere}
		case isLimit:
			p.Metrics.count("limited")
			return outbox.Result{Sent: true, Err: err, Limited: true, After: limited.RetryAfter}
		}
		if ctx.Err() == nil {
			p.Metrics.count("failed")
			p.Logger.Warn("message waits for Slack", "incident", id, "again", again.String(), "error", err)
		}
		return outbox.Result{Sent: true, Err: err}
	})
}

// turn is about a message or about its thread.
func (p *Poster) turn(ctx context.Context, id string) (did bool, err error) {
	if id, isThread := strings.CutSuffix(id, threadOf); isThread {
		return p.thread(ctx, id)
	}
	return p.show(ctx, id)
}

// show brings one message up to date; did says that Slack was asked.
func (p *Poster) show(ctx context.Context, id string) (did bool, err error) {
	inc, err := p.Incidents.Latest(ctx, id)
	if err != nil {
		return false, err
	}
	id = inc.Root()
	was, err := p.Ledger.Message(ctx, id)
	if err != nil {
		return false, err
	}
	if was.TS == "" && inc.Quiet() {
		p.box.Changed(inc.Parent.Incident, false)
		return false, nil
	}
	route := p.Route(inc)
	if was.TS == "" && route.Channel == "" {
		return false, nil
	}
	m, ok := Render(inc, Form{Buttons: p.Buttons, Words: p.words(inc, route)})
	if !ok {
		return false, nil
	}
	if u, there := p.unkept[id]; there {
		was = u
	}
	rest := p.rest(inc, was)
	now := Posted{Incident: id, Channel: was.Channel, TS: was.TS, Final: m.Final && !rest, Notified: was.Notified, Told: was.Told}
	if now.Shown, err = digest(m); err != nil {
		return false, err
	}
	if was.TS != "" && was.Shown == now.Shown && was.Notified == cmp.Or(needs(inc), was.Notified) {
		switch {
		case rest:
			p.box.Changed(id+threadOf, false)
		case now.Final && !was.Final: // its thread is complete now
			p.unkept[id] = now
		}
		return false, p.keep(ctx, now)
	}
	if was.TS == "" {
		if mine, err := p.Ledger.ReserveMessage(ctx, id); err != nil {
			return false, err
		} else if !mine {
			return false, errElsewhere
		}
	}
	err = p.send(ctx, &now, route.Channel, m)
	if refusedBlocks(err) {
		// A person has to hear of it all the same: the incident's id says where the rest is.
		p.Logger.Error("Slack refuses the form of a message; it is sent as text", "incident", id, "error", err)
		bare := cut(m.Text, maxHeader) + ", incident " + id
		err = p.send(ctx, &now, route.Channel, Message{Text: bare, Blocks: []slack.Block{section(slack.PlainTextType, []string{bare})}})
	}
	if err == nil {
		err = p.notify(ctx, inc, was, &now)
	}
	if err != nil {
		return true, err
	}
	p.unkept[id] = now
	if inc.Parent != nil {
		p.box.Changed(inc.Parent.Incident, false) // it says how many parts it has
	}
	err = p.keep(ctx, now)
	if rest && err == nil {
		p.box.Changed(id+threadOf, false)
	}
	return true, err
}

// words are the operator's, empty for kmend's own.
func (p *Poster) words(inc incident.Incident, r Route) string {
	if r.Words == nil {
		return ""
	}
	words, err := r.Words(inc)
	if err != nil {
		p.Logger.Error("a template fails; the message has kmend's own words", "incident", inc.ID, "error", err)
		return ""
	}
	return words
}

// needs names what a person is needed for, in an incident's present episode; empty
// where nobody is.
func needs(inc incident.Incident) string {
	switch inc.Outcome {
	case incident.Failed, incident.Undone, incident.Interrupted:
		return inc.ID + " " + string(inc.Outcome)
	}
	if inc.Episode > 1 && waits(inc) { // the first one is asked about in a new message
		return inc.ID + " asks"
	}
	return ""
}

// notify tells people of what an edit says: they are needed, and hear nothing of edits.
func (p *Poster) notify(ctx context.Context, inc incident.Incident, was Posted, now *Posted) error {
	need := needs(inc)
	if need == "" || need == was.Notified {
		return nil
	}
	if was.TS == now.TS { // else the message is new, and they heard of it
		if err := p.Client.Notify(ctx, now.Channel, now.TS, title(inc)); err != nil {
			return err
		}
		p.Metrics.count("notified")
	}
	now.Notified = need
	return nil
}

// keep writes down what was posted, unless it is written down.
func (p *Poster) keep(ctx context.Context, m Posted) error {
	if _, there := p.unkept[m.Incident]; !there {
		return nil
	}
	if err := p.Ledger.KeepMessage(ctx, m); err != nil {
		return err
	}
	delete(p.unkept, m.Incident)
	return nil
}

// send edits the message, or posts it where there is none.
func (p *Poster) send(ctx context.Context, to *Posted, channel string, m Message) (err error) {
	if to.TS != "" {
		if err = p.Client.Edit(ctx, to.Channel, to.TS, m); err == nil {
			p.Metrics.count("edited")
		}
		if !gone(err) {
			return err
		}
	}
	if to.Channel, to.TS, err = p.Client.Post(ctx, cmp.Or(channel, to.Channel), m); err == nil {
		p.Metrics.count("posted")
	}
	return err
}

func digest(m Message) (string, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encoding a message: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
