package slack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// tellTimeout bounds one call of a response_url.
const tellTimeout = 10 * time.Second

// newHTTP follows no redirects: an answer goes to Slack or nowhere.
func newHTTP() *http.Client {
	return &http.Client{
		Timeout:       tellTimeout,
		Transport:     http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// tell sends a reply that only who clicked sees. The URL names a secret of
// Slack's: it is in no error.
func (c *Clicks) tell(ctx context.Context, to string, r Reply) error {
	if !c.slacks(to) {
		return errors.New("the response_url is not Slack's: nothing was sent")
	}
	body, err := json.Marshal(struct {
		ResponseType    string          `json:"response_type"`
		ReplaceOriginal bool            `json:"replace_original"`
		Text            string          `json:"text"`
		Blocks          json.RawMessage `json:"blocks,omitempty"`
	}{"ephemeral", false, r.Text, r.Blocks})
	if err != nil {
		return fmt.Errorf("encoding a reply: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("the response_url is not a URL")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return fmt.Errorf("calling the response_url: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("calling the response_url: Slack answers %d", resp.StatusCode)
	}
	return nil
}

// slacks reports whether a URL is below HooksURL.
func (c *Clicks) slacks(to string) bool {
	u, err := url.Parse(to)
	base := strings.TrimSuffix(path.Clean("/"+c.hooks.Path), "/") + "/"
	return err == nil && u.Scheme == c.hooks.Scheme && u.Host == c.hooks.Host && u.User == nil && u.Opaque == "" &&
		strings.HasPrefix(path.Clean("/"+u.Path), base) && !strings.Contains(u.Path, "..")
}
