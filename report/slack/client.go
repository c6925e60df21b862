package slack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/report/picture"
)

// callTimeout bounds one call of Slack's API.
const callTimeout = 10 * time.Second

// Client calls Slack's Web API as the app's bot. The token is read anew for each
// call, so a rotated one counts at once.
type Client struct {
	token *secret.File
	url   string
	http  *http.Client

	mu      sync.Mutex
	members map[string]members
}

// members are who was in a group, and until when that counts.
type members struct {
	users []string
	until time.Time
}

// membersFor is how long a group's members count without asking again: who was
// taken out of it may approve for as long.
const membersFor = 30 * time.Second

// NewClient makes the client for the bot token in a file; url is that of the
// API, with a slash at its end.
func NewClient(tokenFile, url string) (*Client, error) {
	f, err := secret.Open(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("opening Slack's bot token: %w", err)
	}
	return &Client{token: f, url: url, http: newHTTP(), members: map[string]members{}}, nil
}

// newHTTP follows no redirect: Slack makes none, and what is sent has the token in it.
func newHTTP() *http.Client {
	return &http.Client{Timeout: callTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			return fmt.Errorf("Slack redirects to %s, which is not followed", r.URL.Host)
		}}
}

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) api() (*slack.Client, error) {
	token, err := c.token.Value()
	if err != nil {
		return nil, err
	}
	return slack.New(token, slack.OptionAPIURL(c.url), slack.OptionHTTPClient(c.http)), nil
}

// Members are the users of a group. What Slack does not answer is an error, also
// where it answered a minute ago.
func (c *Client) Members(ctx context.Context, group string) ([]string, error) {
	c.mu.Lock()
	known, ok := c.members[group]
	c.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.users, nil
	}
	api, err := c.api()
	if err != nil {
		return nil, err
	}
	users, err := api.GetUserGroupMembersContext(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("asking Slack who is in group %s: %w", group, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[group] = members{users, time.Now().Add(membersFor)}
	return users, nil
}

// Post sends a message to a channel; the answer names it there.
func (c *Client) Post(ctx context.Context, channel string, m Message) (id, ts string, err error) {
	api, err := c.api()
	if err != nil {
		return "", "", err
	}
	id, ts, err = api.PostMessageContext(ctx, channel, options(m)...)
	if err != nil {
		return "", "", fmt.Errorf("posting to Slack: %w", err)
	}
	return id, ts, nil
}

// Notify replies to a message, and shows that in the channel: an edit notifies nobody.
func (c *Client) Notify(ctx context.Context, channel, ts, text string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	if _, _, err = api.PostMessageContext(ctx, channel, append(options(Message{Text: text}), slack.MsgOptionTS(ts), slack.MsgOptionBroadcast())...); err != nil {
		return fmt.Errorf("replying in Slack: %w", err)
	}
	return nil
}

// Reply adds hostile text, escaped already, to the thread of a message. Nobody is notified of it.
func (c *Client) Reply(ctx context.Context, channel, ts, text string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	m := Message{Text: text, Blocks: []slack.Block{slack.NewSectionBlock(slack.NewTextBlockObject(slack.PlainTextType, text, false, false), nil, nil)}}
	if _, _, err = api.PostMessageContext(ctx, channel, append(options(m), slack.MsgOptionTS(ts))...); err != nil {
		return fmt.Errorf("replying in a thread in Slack: %w", err)
	}
	return nil
}

// Upload brings a picture to Slack, where nobody sees it until it is shared.
func (c *Client) Upload(ctx context.Context, p picture.Picture) (file string, err error) {
	api, err := c.api()
	if err != nil {
		return "", err
	}
	to, err := api.GetUploadURLExternalContext(ctx, slack.GetUploadURLExternalParameters{FileName: p.Name, FileSize: len(p.PNG), AltTxt: p.Alt})
	if err != nil {
		return "", fmt.Errorf("asking Slack where to upload a picture: %w", err)
	}
	if err = api.UploadToURL(ctx, slack.UploadToURLParameters{UploadURL: to.UploadURL, Reader: bytes.NewReader(p.PNG), Filename: p.Name}); err != nil {
		return "", fmt.Errorf("uploading a picture to Slack: %w", err)
	}
	return to.FileID, nil
}

// Share shows an uploaded file in the thread of a message.
func (c *Client) Share(ctx context.Context, file, title, channel, ts string) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	_, err = api.CompleteUploadExternalContext(ctx, slack.CompleteUploadExternalParameters{Files: []slack.FileSummary{{ID: file, Title: title}}, Channel: channel, ThreadTimestamp: ts})
	if err != nil {
		return fmt.Errorf("sharing a picture in Slack: %w", err)
	}
	return nil
}

// Edit replaces what a message says.
func (c *Client) Edit(ctx context.Context, channel, ts string, m Message) error {
	api, err := c.api()
	if err != nil {
		return err
	}
	if _, _, _, err = api.UpdateMessageContext(ctx, channel, ts, options(m)...); err != nil {
		return fmt.Errorf("editing a message in Slack: %w", err)
	}
	return nil
}

// options keep Slack from making links, mentions and previews of anything.
func options(m Message) []slack.MsgOption {
	o := []slack.MsgOption{slack.MsgOptionText(m.Text, false), slack.MsgOptionParse(false),
		slack.MsgOptionLinkNames(false), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl()}
	if len(m.Blocks) > 0 {
		o = append(o, slack.MsgOptionBlocks(m.Blocks...))
	}
	return o
}

// gone reports whether a message cannot be edited because it is not there.
func gone(err error) bool {
	e, ok := errors.AsType[slack.SlackErrorResponse](err)
	return ok && (e.Err == "message_not_found" || e.Err == "cant_update_message")
}

// refusedBlocks reports whether Slack does not like how a message is built.
func refusedBlocks(err error) bool {
	e, ok := errors.AsType[slack.SlackErrorResponse](err)
	return ok && (e.Err == "invalid_blocks" || e.Err == "invalid_blocks_format" || e.Err == "msg_too_long" || e.Err == "msg_blocks_too_long")
}
