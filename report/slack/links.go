package slack

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

const (
	maxURL   = 1000
	maxLinks = 6
)

// host is one that reads as what it is: no letters of other alphabets that look like ours.
var host = regexp.MustCompile(`^([A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$`)

// links are those to Grafana that the alerts bring, one a line. They are the sender's word: each is labelled by kmend and shows its host.
func links(inc incident.Incident) (out []string) {
	for _, a := range inc.Alerts {
		for _, l := range []struct{ what, url string }{{"Panel", cmp.Or(a.PanelURL, a.DashboardURL)}, {"Image", a.ImageURL}} {
			if made := link(l.what, l.url); made != "" && len(out) < maxLinks && !slices.Contains(out, made) {
				out = append(out, made)
			}
		}
	}
	return out
}

// link is one in mrkdwn, empty when it is no plain http or https URL.
func link(what, to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" || !host.MatchString(u.Host) {
		return ""
	}
	// What Slack reads as the end of the URL, or of the link.
	safe := strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C", " ", "%20", "&", "&amp;").Replace(clean(u.String()))
	if len(safe) > maxURL {
		return ""
	}
	return "<" + safe + "|" + what + " on " + u.Host + ">"
}
