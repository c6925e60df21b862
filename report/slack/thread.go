package slack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/report/picture"
)

// threadOf, after an incident's id, makes the turns about its thread others than those
// about the message: what goes wrong in one does not hold up the other.
const threadOf = "/thread"

// told is how much of an episode is in the thread.
type told struct{ events, pictures int }

// toldOf reads Posted.Told; of an episode that is new, nothing is told.
func toldOf(inc incident.Incident, kept string) (t told) {
	var id string
	if n, err := fmt.Sscan(kept, &id, &t.events, &t.pictures); n != 3 || err != nil || id != inc.ID {
		return told{}
	}
	return t
}

func (t told) keep(inc incident.Incident) string {
	return fmt.Sprintf("%s %d %d", inc.ID, t.events, t.pictures)
}

// rest reports whether something is missing in the thread.
func (p *Poster) rest(inc incident.Incident, m Posted) bool {
	t := toldOf(inc, m.Told)
	return t.events < len(inc.Timeline) || !p.noPictures && t.pictures < picture.Count(inc)
}

// thread sends one part of what is missing in the thread of a message: the new lines of
// the timeline, then the pictures. What is told is written down before it is sent and
// taken back where that fails, so that two replicas do not both send it.
func (p *Poster) thread(ctx context.Context, id string) (did bool, err error) {
	inc, err := p.Incidents.Latest(ctx, id)
	if err != nil {
		return false, err
	}
	m, err := p.Ledger.Message(ctx, inc.Root())
	if err != nil || m.TS == "" {
		return false, err // with the message, this comes again
	}
	if inc, err = p.untold(ctx, inc, m); err != nil {
		return false, err
	}
	t := toldOf(inc, m.Told)
	switch {
	case t.events < len(inc.Timeline):
		text, n := lines(inc.Timeline[t.events:])
		err = p.once(ctx, inc, m, told{t.events + n, t.pictures}, func() error { return p.Client.Reply(ctx, m.Channel, m.TS, text) })
		p.counted(err, "replied")
	case p.rest(inc, m):
		if err = p.picture(ctx, inc, m, t); isMissingScope(err) {
			p.noPictures = true
			p.Logger.Warn("Slack takes no pictures from this app; give it the scope files:write and install it again", "error", err)
			err = nil
		}
		p.counted(err, "picture")
	case inc.Phase.Closed() && !m.Final:
		p.box.Changed(id, false) // nothing is missing any more: it may be final
		return false, nil
	default:
		return false, nil
	}
	if err == nil || settled(err) {
		p.box.Changed(id+threadOf, false)
	}
	if settled(err) {
		p.Logger.Error("Slack refuses a part of a thread; it is left out", "incident", inc.ID, "error", err)
		return true, nil
	}
	return true, err
}

// untold is the first episode of which something is missing in the thread: an earlier
// one, where the next has begun while Slack was away. Else it is the latest.
func (p *Poster) untold(ctx context.Context, latest incident.Incident, m Posted) (incident.Incident, error) {
	last, _, _ := strings.Cut(m.Told, " ")
	from := slices.IndexFunc(latest.Episodes, func(e incident.Episode) bool { return e.ID == last })
	for _, e := range latest.Episodes[max(0, from):] {
		if e.ID == latest.ID {
			break
		}
		if inc, err := p.Incidents.Get(ctx, e.ID); err != nil || p.rest(inc, m) {
			return inc, err
		}
	}
	return latest, nil
}

func (p *Poster) counted(err error, as string) {
	if err == nil {
		p.Metrics.count(as)
	}
}

// picture uploads the next picture. Until it is shared nobody sees it, so that is what happens once.
func (p *Poster) picture(ctx context.Context, inc incident.Incident, m Posted, t told) error {
	pic, err := picture.Draw(inc, t.pictures)
	if err != nil {
		return err
	}
	next := told{t.events, t.pictures + 1}
	file, err := p.Client.Upload(ctx, pic)
	if settled(err) && !isMissingScope(err) {
		return errors.Join(err, p.once(ctx, inc, m, next, func() error { return nil }))
	}
	if err != nil {
		return err
	}
	return p.once(ctx, inc, m, next, func() error {
		err := p.Client.Share(ctx, file, pic.Title, m.Channel, m.TS)
		if err != nil && !answered(err) {
			p.Logger.Warn("nobody knows whether Slack shows a picture; it is not sent again", "incident", inc.ID, "error", err)
			return nil
		}
		return err
	})
}

// once sends what makes the thread to, unless somebody else has.
func (p *Poster) once(ctx context.Context, inc incident.Incident, m Posted, to told, send func() error) error {
	mine, err := p.Ledger.TellThread(ctx, m.Incident, m.Told, to.keep(inc))
	if err != nil {
		return err
	}
	if !mine {
		return errElsewhere
	}
	if err = send(); err == nil || settled(err) || isMissingScope(err) {
		return err
	}
	_, back := p.Ledger.TellThread(context.WithoutCancel(ctx), m.Incident, to.keep(inc), m.Told)
	return errors.Join(err, back)
}

// lines are the first n events, as far as they fit into one reply.
func lines(events []incident.Event) (text string, n int) {
	var b strings.Builder
	for _, e := range events {
		line := e.At.UTC().Format("15:04:05") + " " + cut(escaped(clean(e.Message)), maxLine)
		if n > 0 && b.Len()+1+len(line) > maxSection {
			break
		}
		if n > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line)
		n++
	}
	return b.String(), n
}

// isMissingScope reports whether the app may not do what it asked for.
func isMissingScope(err error) bool {
	e, ok := errors.AsType[slack.SlackErrorResponse](err)
	return ok && e.Err == "missing_scope"
}

// answered reports whether an error is Slack's answer, and not that there was none.
func answered(err error) bool {
	_, refused := errors.AsType[slack.SlackErrorResponse](err)
	_, limited := errors.AsType[*slack.RateLimitedError](err)
	_, status := errors.AsType[slack.StatusCodeError](err)
	return refused || limited || status
}

// settled reports whether Slack has understood and will say the same again: trouble
// of its own and credentials that a person can mend are not of these.
func settled(err error) bool {
	e, ok := errors.AsType[slack.SlackErrorResponse](err)
	return ok && !slices.Contains([]string{"internal_error", "fatal_error", "service_unavailable", "request_timeout", "ratelimited",
		"not_authed", "invalid_auth", "token_expired", "token_revoked", "account_inactive", "not_in_channel", "is_archived", "missing_scope"}, e.Err)
}
