package slack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/kmend/kmend/internal/secret"
)

// Socket is Socket Mode: kmend connects to Slack, and clicks come over that
// connection, so that nobody has to reach kmend from outside.
type Socket struct {
	token  *secret.File
	apiURL string
	clicks *Clicks
	http   *http.Client
}

// NewSocket makes a Socket; tokenFile holds the app-level token, apiURL is that
// of the Web API with a slash at its end.
func NewSocket(tokenFile, apiURL string, clicks *Clicks) (*Socket, error) {
	f, err := secret.Open(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("opening Slack's app-level token: %w", err)
	}
	return &Socket{f, apiURL, clicks, newHTTP()}, nil
}

// Run stays connected until ctx ends. What breaks the connection is logged and
// it connects again, with the token as it is then.
func (s *Socket) Run(ctx context.Context) {
	defer s.http.CloseIdleConnections()
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, time.Minute) {
		began := time.Now()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			wait = time.Second
		}
		s.clicks.opts.Logger.Warn("Socket Mode is not connected", "again", wait.String(), "error", bare(err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// connect connects and works until the connection is given up.
func (s *Socket) connect(ctx context.Context) error {
	token, err := s.token.Value()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug) // what counts comes as events
	api := slack.New("", slack.OptionAppLevelToken(token), slack.OptionAPIURL(s.apiURL), slack.OptionHTTPClient(s.http),
		slack.OptionLog(silent))
	client := socketmode.New(api, socketmode.OptionLog(silent), socketmode.OptionReadLimit(4<<20))
	ended := make(chan error, 1)
	go func() { ended <- client.RunContext(ctx) }()
	for {
		select {
		case e := <-client.Events:
			s.event(ctx, client, e)
		case err := <-ended:
			return err
		}
	}
}

func (s *Socket) event(ctx context.Context, client *socketmode.Client, e socketmode.Event) {
	log := s.clicks.opts.Logger
	switch e.Type {
	case socketmode.EventTypeConnected:
		log.Info("Socket Mode is connected")
	case socketmode.EventTypeConnectionError:
		if c, ok := e.Data.(*slack.ConnectionErrorEvent); ok {
			log.Warn("Socket Mode does not connect", "again", c.Backoff.String(), "error", bare(c.ErrorObj))
		}
	case socketmode.EventTypeInteractive:
		result := s.interaction(e.Request.Payload)
		s.clicks.opts.Metrics.count(result)
		if result == resultFull {
			return // not acknowledged: Slack shows who clicked that it failed
		}
		if err := client.AckCtx(ctx, e.Request.EnvelopeID, nil); err != nil {
			log.Warn("click was taken and not acknowledged", "error", bare(err))
		}
	}
}

// interaction takes a click as the handler does; the connection is Slack's own,
// so there is no signature.
func (s *Socket) interaction(payload []byte) string {
	c, err := ParseClick(payload)
	switch {
	case errors.Is(err, errOther):
		return resultOther
	case err != nil:
		s.clicks.opts.Logger.Warn("call for Slack refused", "reason", err)
		return resultMalformed
	case !s.clicks.Take(c):
		return resultFull
	}
	return resultTaken
}

// bare is an error without the URL it may carry: the WebSocket's holds a ticket.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
