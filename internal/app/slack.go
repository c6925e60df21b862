package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
	report "github.com/kmend/kmend/report/slack"
	hook "github.com/kmend/kmend/webhook/slack"
)

// slackApp is both directions of Slack: what is posted, and what is clicked.
type slackApp struct {
	config Slack
	log    *slog.Logger
	db     *store.Store
	client *report.Client
	poster *report.Poster

	clicks *hook.Clicks // of here on: nil until listen
	door   http.Handler // nil: clicks do not come in by HTTP
	socket *hook.Socket // nil: nor in Socket Mode
}

// messages translates between the store and the poster, which do not know each other.
type messages struct{ db *store.Store }

func (m messages) Message(ctx context.Context, id string) (report.Posted, error) {
	got, err := m.db.Message(ctx, id)
	return report.Posted(got), err
}

func (m messages) ReserveMessage(ctx context.Context, id string) (bool, error) {
	return m.db.ReserveMessage(ctx, id)
}

func (m messages) TellThread(ctx context.Context, id, from, to string) (bool, error) {
	return m.db.TellThread(ctx, id, from, to)
}

func (m messages) KeepMessage(ctx context.Context, p report.Posted) error {
	return m.db.KeepMessage(ctx, store.Message(p))
}

// newSlack makes what posts; listen makes what listens, once there is somebody to answer.
func newSlack(c Slack, now *current, db *store.Store, reg prometheus.Registerer, log *slog.Logger) (*slackApp, error) {
	client, err := report.NewClient(c.BotTokenFile, c.APIURL)
	if err != nil {
		return nil, err
	}
	o := report.DefaultOptions()
	o.Client, o.Incidents, o.Ledger, o.Logger, o.Metrics = client, summarized{Store: db}, messages{db}, log, report.NewMetrics(reg)
	o.Route = now.slackRoute
	o.Buttons = c.SigningSecretFile != "" || c.AppTokenFile != ""
	s := &slackApp{config: c, log: log, db: db, client: client}
	s.poster, err = report.NewPoster(o)
	return s, err
}

// listen makes the endpoint and the connection for clicks, as far as they are configured.
func (s *slackApp) listen(answers answerer, approvers []Approver, reg prometheus.Registerer) error {
	names := map[string]string{}
	for _, a := range approvers {
		if a.SlackUser != "" {
			names[a.SlackUser] = a.Name
		}
	}
	o := hook.DefaultOptions()
	o.Answerer = clicker{s.log, s.db, answers, names}
	o.Logger, o.Metrics, o.HooksURL = s.log, hook.NewMetrics(reg), s.config.HooksURL
	var err error
	if s.clicks, err = hook.NewClicks(o); err != nil {
		return err
	}
	if s.config.SigningSecretFile != "" {
		if s.door, err = hook.NewHandler(s.config.SigningSecretFile, s.clicks); err != nil {
			return fmt.Errorf("opening slack.signingSecretFile: %w", err)
		}
	}
	if s.config.AppTokenFile != "" {
		s.socket, err = hook.NewSocket(s.config.AppTokenFile, s.config.APIURL, s.clicks)
	}
	return err
}

// everyMinute calls f now and every minute until ctx ends: what a replica that is gone
// did not tell, another one does.
func everyMinute(ctx context.Context, f func()) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		f()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// lately is how long ago an incident may have closed that is told after a start.
const lately = time.Hour

// run posts and listens until ctx ends. Slack that is away holds up nothing.
func (s *slackApp) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		everyMinute(ctx, func() {
			ids, err := s.db.Untold(ctx, time.Now().Add(-lately))
			if err != nil && ctx.Err() == nil {
				s.log.Error("which messages in Slack are out of date is looked at later", "error", err)
			}
			for _, id := range ids {
				s.poster.Changed(id, false)
			}
		})
	})
	wg.Go(func() { s.poster.Run(ctx) })
	wg.Go(func() { s.clicks.Run(ctx) })
	if s.socket != nil {
		wg.Go(func() { s.socket.Run(ctx) })
	}
	wg.Wait()
	s.client.Close()
}

// clicker does what a click asks for.
type clicker struct {
	log     *slog.Logger
	db      incidents
	answers answerer
	names   map[string]string // of approvers, by Slack user
}

// Answer commits a click as the API commits an answer, and says why it did nothing.
// What it did the message shows to everybody.
func (c clicker) Answer(ctx context.Context, click hook.Click) hook.Reply {
	if click.Action == hook.Details {
		return c.details(ctx, click)
	}
	a := incident.Approval{Incident: click.Incident, Plan: click.Plan, Approve: click.Action == hook.Approve,
		By: byOf(click), At: time.Now().UTC(), Name: c.names[click.User], SlackUser: click.User}
	if a.Name != "" {
		a.By = a.Name
	}
	err := c.answers.Approve(ctx, a)
	if err == nil {
		c.log.Info("plan answered", "incident", a.Incident, "by", a.By, "approve", a.Approve)
		return hook.Reply{}
	}
	c.log.Warn("click did nothing", "incident", a.Incident, "user", click.User, "error", err)
	return hook.Reply{Text: "Your click did nothing: " + report.Escape(c.why(ctx, a, err))}
}

func byOf(c hook.Click) string {
	if c.UserName == "" {
		return "Slack user " + c.User
	}
	return fmt.Sprintf("%s (Slack %s)", c.UserName, c.User)
}

// why is for the person who clicked: what is broken inside, the log says.
func (c clicker) why(ctx context.Context, a incident.Approval, err error) string {
	switch {
	case errors.Is(err, store.ErrNotApprover):
		return "you are not one of those who may answer for this plan."
	case errors.Is(err, store.ErrSamePerson):
		return "you have said yes already; another person has to, too."
	case errors.Is(err, store.ErrExpired):
		return "the time for an answer is over."
	case errors.Is(err, store.ErrPlanChanged):
		return "another plan waits than the one that this message showed."
	case errors.Is(err, store.ErrNotFound):
		return "kmend knows no such incident."
	case errors.Is(err, store.ErrAnswered):
		if inc, e := c.db.Get(ctx, a.Incident); e == nil && inc.Approval != nil {
			return fmt.Sprintf("%s has answered already, at %s UTC.", inc.Approval.By, inc.Approval.At.UTC().Format("15:04:05"))
		}
		return "it was answered already."
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrNotAwaiting):
		if inc, e := c.db.Get(ctx, a.Incident); e == nil && inc.Phase.Closed() {
			return fmt.Sprintf("the incident is over (%s): %s", inc.Outcome, inc.Reason)
		}
		return "the incident does not wait for an answer."
	case store.Refused(err):
		return err.Error()
	}
	return "the storage does not answer; try again in a moment."
}

func (c clicker) details(ctx context.Context, click hook.Click) hook.Reply {
	inc, err := c.db.Get(ctx, click.Incident)
	if err != nil {
		return hook.Reply{Text: "There are no details: " + report.Escape(c.why(ctx, incident.Approval{}, err))}
	}
	m := report.Details(inc)
	blocks, err := json.Marshal(m.Blocks)
	if err != nil {
		c.log.Error("details are not shown", "incident", inc.ID, "error", err)
		return hook.Reply{Text: "kmend cannot show the details; run `kmend incidents show`."}
	}
	return hook.Reply{Text: m.Text, Blocks: blocks}
}
