package slack

import (
	"context"
	"fmt"
	"strings"
)

// Identity is who Slack takes the bot for.
type Identity struct {
	Team, User string
	Scopes     []string // that the token has; nil: Slack does not say
}

// Examine asks Slack who the bot is (auth.test, which no scope is needed for).
func (c *Client) Examine(ctx context.Context) (Identity, error) {
	api, err := c.api()
	if err != nil {
		return Identity{}, err
	}
	got, err := api.AuthTestContext(ctx)
	if err != nil {
		return Identity{}, fmt.Errorf("asking Slack who the bot is: %w", err)
	}
	who := Identity{Team: got.Team, User: got.User}
	for _, s := range strings.Split(got.Header.Get("X-Oauth-Scopes"), ",") {
		if s = strings.TrimSpace(s); s != "" {
			who.Scopes = append(who.Scopes, s)
		}
	}
	return who, nil
}
