package slack

import (
	"context"
	"strings"
	"testing"

	standin "github.com/kmend/kmend/test/slack"
)

// Without an ingress clicks come over a connection that kmend opens, which Slack
// renews; a click is acknowledged at once and worked on as any other.
func TestSocketMode(t *testing.T) {
	d := open(t, nil)
	d.answer = func(c Click) Reply { return Reply{Text: "told " + c.User} }
	s, err := NewSocket(file(t, standin.AppToken), d.slack.APIURL(), d.clicks)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for i := range 2 {
		until(t, "a connection", d.slack.Connected)
		if err := d.slack.ClickSocket(message(), string(Approve), "U1"); err != nil {
			t.Fatal(err)
		}
		until(t, "who clicked is told", func() bool { return len(d.slack.Ephemerals()) == i+1 })
		if i == 0 {
			if err := d.slack.Disconnect(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if c := d.got()[1]; c.Action != Approve || c.Incident != someIncident || c.User != "U1" {
		t.Errorf("click %+v", c)
	}
}

// A token that Slack does not know is no secret in the log, and is tried again.
func TestSocketModeRefused(t *testing.T) {
	d := open(t, nil)
	s, err := NewSocket(file(t, "xapp-wrong"), d.slack.APIURL(), d.clicks)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	until(t, "a refusal", func() bool { return strings.Contains(d.log.String(), "invalid_auth") })
	cancel()
	<-ended
	if strings.Contains(d.log.String(), "xapp-wrong") {
		t.Error("the token is in the log")
	}
}
