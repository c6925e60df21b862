package app

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Slack says how kmend asks and tells people in Slack.
type Slack struct {
	BotTokenFile      string `json:"botTokenFile" jsonschema:"minLength=1" jsonschema_description:"File of the bot token, xoxb-..."`
	SigningSecretFile string `json:"signingSecretFile,omitempty" jsonschema_description:"File of the app's signing secret: clicks come in at /webhook/slack/interactive."`
	AppTokenFile      string `json:"appTokenFile,omitempty" jsonschema_description:"File of the app-level token, xapp-...: clicks come in over a connection that kmend opens (Socket Mode)."`
	Channel           string `json:"channel" jsonschema:"minLength=1,maxLength=100" jsonschema_description:"Id or name of the channel."`
	APIURL            string `json:"apiURL,omitempty" jsonschema_description:"Default https://slack.com/api/."`
	HooksURL          string `json:"hooksURL,omitempty" jsonschema_description:"Where Slack takes answers to clicks; nothing is sent elsewhere. Default https://hooks.slack.com/."`
}

var slackUser = regexp.MustCompile(`^[UW][A-Z0-9]{1,30}$`)

// resolve fills in what is left open.
func (s *Slack) resolve() []*string {
	if s.APIURL == "" {
		s.APIURL = "https://slack.com/api/"
	}
	if s.HooksURL == "" {
		s.HooksURL = "https://hooks.slack.com/"
	}
	for _, u := range []*string{&s.APIURL, &s.HooksURL} {
		if !strings.HasSuffix(*u, "/") {
			*u += "/"
		}
	}
	return []*string{&s.BotTokenFile, &s.SigningSecretFile, &s.AppTokenFile}
}

// checkSlack checks that the secrets are there and what they seem to be, because
// Slack's answer to a wrong one comes when somebody waits for a message.
func (c Config) checkSlack(k *checker) {
	users := map[string]bool{}
	for i, a := range c.Approvers {
		field := fmt.Sprintf("approvers.%d.slackUser", i)
		switch {
		case a.SlackUser == "":
			continue
		case !slackUser.MatchString(a.SlackUser):
			k.at(field, "approvers[%d].slackUser is %q; want the id of a Slack user, such as U012AB3CD", i, a.SlackUser)
		case users[a.SlackUser]:
			k.at(field, "approvers[%d].slackUser %q is there twice; a Slack user is one person", i, a.SlackUser)
		}
		users[a.SlackUser] = true
	}
	s := c.Slack
	if s == nil {
		return
	}
	for _, f := range []struct{ name, file, prefix string }{
		{"botTokenFile", s.BotTokenFile, "xoxb-"}, {"signingSecretFile", s.SigningSecretFile, ""}, {"appTokenFile", s.AppTokenFile, "xapp-"},
	} {
		if f.file == "" {
			continue
		}
		if v := k.secret("slack."+f.name, f.file); v != "" && !strings.HasPrefix(v, f.prefix) {
			k.at("slack."+f.name, "slack.%s holds no token that begins with %s", f.name, f.prefix)
		}
	}
	for _, f := range []struct{ name, url string }{{"apiURL", s.APIURL}, {"hooksURL", s.HooksURL}} {
		u, err := url.Parse(f.url)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && !plainAllowed(u) {
			k.at("slack."+f.name, "slack.%s is %q; want an https URL, http is for 127.0.0.1 only", f.name, f.url)
		}
	}
}

// plainAllowed reports whether a URL stays on this machine.
func plainAllowed(u *url.URL) bool {
	host := u.Host
	if u.Port() == "" {
		host += ":80"
	}
	local, err := loopback(host)
	return u.Scheme == "http" && err == nil && local
}
