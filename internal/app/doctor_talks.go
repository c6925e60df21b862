package app

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/report/llm"
	"github.com/kmend/kmend/report/pagerduty"
	"github.com/kmend/kmend/report/slack"
)

// talks are the checks of those that kmend tells. Nothing is posted, nobody is paged.
func (e examiner) talks() []doctor.Check {
	const group = "people"
	checks := make([]doctor.Check, 0, 3)
	if s := e.config.Slack; s == nil {
		checks = append(checks, saying(group, doctor.Absent("Slack", "not configured (slack)")))
	} else {
		checks = append(checks, doctor.Check{Group: group, Name: "Slack", Run: func(ctx context.Context) []doctor.Line { return s.examine(ctx) }})
	}
	if p := e.config.PagerDuty; p == nil {
		checks = append(checks, saying(group, doctor.Absent("PagerDuty", "not configured (pagerduty)")))
	} else {
		checks = append(checks, doctor.Check{Group: group, Name: "PagerDuty", Run: func(ctx context.Context) []doctor.Line { return p.examine(ctx) }})
	}
	if l := e.config.LLM; l == nil {
		checks = append(checks, saying(group, doctor.Absent("LLM", "not configured (llm); summaries are kmend's own")))
	} else {
		checks = append(checks, doctor.Check{Group: group, Name: "LLM", Run: func(ctx context.Context) []doctor.Line { return l.examine(ctx) }})
	}
	return checks
}

// examine asks Slack who the bot is and what it may.
func (s Slack) examine(ctx context.Context) []doctor.Line {
	c, err := slack.NewClient(s.BotTokenFile, s.APIURL)
	if err != nil {
		return []doctor.Line{doctor.Wrong("", "let slack.botTokenFile name a file with the bot token", "%v", err)}
	}
	defer c.Close()
	who, err := c.Examine(ctx)
	if err != nil {
		return []doctor.Line{doctor.Wrong("", "see that Slack can be reached from here, and that slack.botTokenFile holds the token of an app that is installed (docs/slack.md)", "%v", err)}
	}
	lines := []doctor.Line{doctor.Fine("", "it knows the bot as %s in %s; messages go to %s", who.User, who.Team, s.Channel)}
	if who.Scopes == nil {
		return append(lines, doctor.Absent("scopes of Slack", "Slack does not say them"))
	}
	for _, want := range []struct{ scope, without string }{
		{"chat:write", "nothing can be posted"},
		{"files:write", "there are no pictures in the threads"},
	} {
		if !slices.Contains(who.Scopes, want.scope) {
			lines = append(lines, doctor.Wrong("scopes of Slack", "add it to the app's bot scopes and install the app again", "%s is missing: %s", want.scope, want.without))
		}
	}
	if len(lines) == 1 {
		lines = append(lines, doctor.Fine("scopes of Slack", "%s", strings.Join(who.Scopes, ", ")))
	}
	return lines
}

var routingKey = regexp.MustCompile(`^[0-9A-Za-z]{32}$`)

// examine asks PagerDuty's REST API. A routing key has no call that changes nothing,
// so it is looked at only.
func (p PagerDuty) examine(ctx context.Context) []doctor.Line {
	var lines []doctor.Line
	if p.RoutingKeyFile != "" {
		lines = append(lines, routing(p.RoutingKeyFile))
	}
	if p.TokenFile == "" {
		return append(lines, doctor.Absent("PagerDuty", "no notes are written (pagerduty.tokenFile)"))
	}
	c, err := pagerduty.NewClient(pagerduty.Access{TokenFile: p.TokenFile, From: p.From, RoutingKeyFile: p.RoutingKeyFile, APIURL: p.APIURL, EventsURL: p.EventsURL})
	if err != nil {
		return append(lines, doctor.Wrong("", "correct pagerduty in the configuration", "%v", err))
	}
	defer c.Close()
	found, err := c.Examine(ctx)
	switch {
	case err != nil:
		return append(lines, doctor.Wrong("", "see that PagerDuty can be reached from here, and that pagerduty.tokenFile holds a REST API key that may read and write", "%v", err))
	case !found:
		return append(lines, doctor.Wrong("", "let pagerduty.from be the e-mail address of a user there", "its API answers and knows no user %s, who writes the notes", p.From))
	}
	return append(lines, doctor.Fine("", "its API answers and knows %s, who writes the notes", p.From))
}

func routing(file string) doctor.Line {
	const name = "routing key of PagerDuty"
	f, err := secret.Open(file)
	if err == nil {
		var v string
		if v, err = f.Value(); err == nil && routingKey.MatchString(v) {
			return doctor.Absent(name, "it has the form of one; whether it is right only a page would show")
		}
	}
	if err != nil {
		return doctor.Wrong(name, "let pagerduty.routingKeyFile name a readable file", "%v", err)
	}
	return doctor.Wrong(name, "copy the integration key of an Events API v2 integration, 32 letters and digits, into pagerduty.routingKeyFile", "it has not the form of one")
}

// examine asks the provider whether it has the models, and asks no model anything.
func (l LLM) examine(ctx context.Context) []doctor.Line {
	names := []string{l.Model}
	if l.Judge != nil && l.Judge.Model != l.Model {
		names = append(names, l.Judge.Model)
	}
	var lines []doctor.Line
	for _, name := range names {
		lines = append(lines, l.examineModel(ctx, name))
	}
	return lines
}

func (l LLM) examineModel(ctx context.Context, name string) doctor.Line {
	m, err := l.model(name)
	if err != nil {
		return doctor.Wrong("", "correct llm in the configuration", "%v", err)
	}
	x, ok := m.(interface{ Examine(context.Context) error })
	if !ok {
		return doctor.Absent("", "%s cannot be asked for its models", l.Provider)
	}
	started := time.Now()
	err = x.Examine(ctx)
	switch {
	case errors.Is(err, llm.ErrNoList):
		return doctor.Absent("", "it answers, and does not list its models: whether it has %s a summary will show", name)
	case errors.Is(err, llm.ErrRefused):
		return doctor.Wrong("", "let llm.apiKeyFile hold a key that is right, and llm.model name a model of the provider's", "%v", err)
	case err != nil:
		return doctor.Wrong("", fmt.Sprintf("see that %s can be reached from here; until then summaries are kmend's own", l.Provider), "%v", err)
	}
	return doctor.Fine("", "it has model %s (%s)", name, time.Since(started).Round(time.Millisecond))
}
