package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A wrong secret or address is found at the start, and the message holds no secret.
func TestSlackConfig(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"bot": "xoxb-s3cret", "app": "xapp-s3cret", "signing": "s3cret", "ada": "t1-s3cret", "bob": "t2-s3cret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "botTokenFile: bot, channel: C1"
	for slack, want := range map[string]string{
		good: "", good + ", signingSecretFile: signing, appTokenFile: app": "",
		good + ", apiURL: http://127.0.0.1:8080/api, hooksURL: http://localhost/actions/": "",
		"botTokenFile: app, channel: C1":                                    "slack.botTokenFile holds no token that begins with xoxb-",
		good + ", appTokenFile: bot":                                        "slack.appTokenFile holds no token that begins with xapp-",
		good + ", signingSecretFile: absent":                                "slack.signingSecretFile: reading a secret",
		good + ", apiURL: http://slack.com/api/":                            "slack.apiURL is",
		good + ", apiURL: https://a@slack.com/":                             "slack.apiURL is",
		good + ", hooksURL: 'https:///x'":                                   "slack.hooksURL is",
		good + ", hooksURL: http://10.0.0.1/":                               "slack.hooksURL is",
		"channel: C1":                                                       "botTokenFile",
		"botTokenFile: bot":                                                 "channel",
		good + "}\napprovers: [{name: ada, tokenFile: ada, slackUser: ada}": "approvers[0].slackUser",
		good + "}\napprovers: [{name: ada, tokenFile: ada, slackUser: U1}, {name: bob, tokenFile: bob, slackUser: U1}": "a Slack user is one person",
	} {
		text := "dataDir: data\nslack: {" + slack + "}"
		if strings.Contains(slack, "approvers") {
			text = strings.TrimSuffix(text, "}") + "]"
		}
		c, err := Load(writeConfig(t, dir, text+"\n"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", slack, err)
		case want == "" && (!filepath.IsAbs(c.Slack.BotTokenFile) || !strings.HasSuffix(c.Slack.APIURL, "/") || c.Slack.HooksURL == ""):
			t.Errorf("%s: %+v", slack, c.Slack)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%s: %v; want %q", slack, err, want)
		}
	}
}
