package pagerduty

import (
	"context"
	"fmt"
	"strings"

	"github.com/PagerDuty/go-pagerduty"
)

// Examine asks PagerDuty's REST API for the user in whose name notes are written:
// the token is right when it answers, found says whether there is such a user. It
// changes nothing and pages nobody.
func (c *Client) Examine(ctx context.Context) (found bool, err error) {
	api, err := c.api()
	if err != nil {
		return false, err
	}
	list, err := api.ListUsersWithContext(ctx, pagerduty.ListUsersOptions{Query: c.access.From, Limit: 25})
	if err != nil {
		return false, fmt.Errorf("asking PagerDuty for the user %s: %w", c.access.From, err)
	}
	for _, u := range list.Users {
		if strings.EqualFold(u.Email, c.access.From) {
			return true, nil
		}
	}
	return false, nil
}
