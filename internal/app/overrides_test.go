package app

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Variables take the place of scalar fields, in parts that the file leaves out too.
func TestOverrides(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"bot": "xoxb-1", "read": "r", "key": "k"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := writeConfig(t, dir, "dataDir: data\napprovalExpiry: 5m\nslack: {botTokenFile: bot, channel: \"#all\"}\n")
	c, err := Load(path, "KMEND_DRYRUN=false", "KMEND_SLACK_CHANNEL=#a=b", "KMEND_APPROVALEXPIRY=7m", "KMEND_WEBHOOK_MAXOPENINCIDENTS=7", "KMEND_API_TOKENFILE=read",
		"KMEND_PAGERDUTY_ROUTINGKEYFILE=key", "KMEND_TRACING_SAMPLE=0.5", "KMEND_TRACING_ENDPOINT=https://collector:4318/v1/traces", "PATH=/bin", "KMEND_CONFIG=x")
	if err != nil {
		t.Fatal(err)
	}
	if c.DryRun || c.Slack.Channel != "#a=b" || c.Slack.BotTokenFile != filepath.Join(dir, "bot") || c.ApprovalExpiry.D() != 7*time.Minute || c.Webhook.MaxOpenIncidents != 7 ||
		c.API.TokenFile != filepath.Join(dir, "read") || c.PagerDuty.RoutingKeyFile != filepath.Join(dir, "key") || *c.Tracing.Sample != .5 {
		t.Errorf("read %+v, Slack %+v", c, c.Slack)
	}
	if c.Webhook.MaxBodyBytes != DefaultConfig().Webhook.MaxBodyBytes || c.DataDir != filepath.Join(dir, "data") {
		t.Errorf("what no variable names has changed: %+v", c)
	}
	if d, err := Default("KMEND_CLUSTER=eu-1"); err != nil || d.Cluster != "eu-1" {
		t.Errorf("without a file: %q, %v", d.Cluster, err)
	}
}

// A variable that is wrong is named, and a slip gets the nearest one.
func TestWrongOverrides(t *testing.T) {
	path := writeConfig(t, t.TempDir(), "dataDir: data\n")
	for pair, want := range map[string]string{
		"KMEND_DRYRUN=perhaps":               `KMEND_DRYRUN: it is "perhaps"; want true or false`,
		"KMEND_DRY_RUN=false":                `KMEND_DRY_RUN: stands for no single field of the configuration; did you mean "KMEND_DRYRUN"?`,
		"KMEND_SLACK_CHANEL=x":               `did you mean "KMEND_SLACK_CHANNEL"?`,
		"KMEND_SLACK_WHATEVER_THIS_MAY_BE=x": "; there are KMEND_SLACK_APIURL, KMEND_SLACK_APPTOKENFILE, ",
		"KMEND_WEBHOOK_MAXOPENINCIDENTS=1.5": `want a whole number`,
		"KMEND_TRACING_SAMPLE=NaN":           `want a number`,
		"KMEND_WEBHOOK_MAXOPENINCIDENTS=0":   "with KMEND_WEBHOOK_MAXOPENINCIDENTS: webhook.maxOpenIncidents is 0; want a whole number, at least 1",
		"KMEND_DIAGNOSE_WINDOW=3":            "with KMEND_DIAGNOSE_WINDOW: diagnose.window is \"3\"; want text",
		"KMEND_SLACK_CHANNEL=C1":             `with KMEND_SLACK_CHANNEL: missing field "botTokenFile" in slack`,
		"KMEND_APPROVALEXPIRY=48h":           "KMEND_APPROVALEXPIRY: approvalExpiry is 48h0m0s; want 1s to 24h0m0s",
		"KMEND_API_TOKENFILE=absent":         "KMEND_API_TOKENFILE: api.tokenFile: ",
	} {
		_, err := Load(path, pair)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", pair, err, want)
		}
	}
	if _, err := Default("KMEND_LISTEN=nowhere"); err == nil || !strings.HasPrefix(err.Error(), "KMEND_LISTEN: ") {
		t.Errorf("without a file: %v", err)
	}
}

// Other variables that begin with KMEND_ mean what they mean.
func TestVariablesOfOthers(t *testing.T) {
	path := writeConfig(t, t.TempDir(), "dataDir: data\n")
	for _, name := range []string{"KMEND_CONFIG", "KMEND_DATA_DIR", "KMEND_LOG_LEVEL", "KMEND_LOG_FORMAT", "KMEND_SERVER", "KMEND_TOKEN_FILE", "KMEND_CPU_BUDGET", "KMEND_EMULATED", "KMEND_CACHE",
		"KMEND_AGENT_TOKEN_FILE", "KMEND_AGENT_SOCKET", "KMEND_SOAK", "KMEND_WORKLOAD", "KMEND_CLUSTER_CGROUP", "KMEND_CLUSTER_DIR", "KMEND_TEST_KUBECONFIG", "KMEND_CHAIN_SERVICE",
		"KMEND_PORT", "KMEND_SERVICE_HOST", "KMEND_SERVICE_PORT", "KMEND_SERVICE_PORT_HTTP", "KMEND_PORT_9790_TCP", "KMEND_PORT_9790_TCP_ADDR", "KMEND_AGENTS_PORT_9791_TCP_PROTO", "KMENDLY_SLACK_X"} {
		if _, err := Load(path, name+"=x"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No two fields could be taken for one another, and none has a variable that means something else.
func TestVariablesAreDistinct(t *testing.T) {
	known := map[string]scalar{}
	scalars(reflect.TypeFor[Config](), nil, known)
	if len(known) < 80 {
		t.Errorf("%d variables only", len(known))
	}
	for name, f := range known {
		if ownVariables.MatchString(name) {
			t.Errorf("%s is a flag and %v", name, f.path)
		}
		for _, part := range f.path {
			if strings.Contains(part, "_") {
				t.Errorf("%s could be another field's, too: the name %s has a _", name, part)
			}
		}
	}
}
