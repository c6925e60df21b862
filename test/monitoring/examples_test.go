package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/kmend/kmend/diagnose"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/process"
)

const examples = root + "/deploy/examples/"

func TestExamplesFireWhenTheyShould(t *testing.T) {
	if testing.Short() {
		t.Skip("needs promtool; `make test` runs it")
	}
	unitTested(t, examples+"alerts.yaml", "testdata/examples.yaml")
}

// leads are the targets that kmend takes the examples' alerts to be about.
var leads = map[string]incident.Target{
	"ContainerThrottled":       {Namespace: "shop", Pod: "cart-7d9f-x2x4z", Container: "app"},
	"NodeCPUPressure":          {Node: "node-7"},
	"ContainerCPUBusy":         {Namespace: "shop", Pod: "cart-7d9f-x2x4z", Container: "app"},
	"NodeCPUSteal":             {Node: "node-7"},
	"NodeTCPRetransmits":       {Node: "node-7"},
	"ServiceSlow":              {Namespace: "shop", Service: "cart"},
	"NodeDiskSlow":             {Node: "node-7"},
	"ContainerSystemTime":      {Namespace: "shop", Pod: "cart-7d9f-x2x4z", Container: "app"},
	"ErrorBudgetBurn":          {Namespace: "shop", Workload: "Deployment/checkout"},
	"PostgresTransactionLong":  {Namespace: "shop", Pod: "db-0"},
	"JVMPauses":                {Namespace: "shop", Pod: "search-0"},
	"ContainerMemoryThrashing": {Namespace: "shop", Pod: "cart-7d9f-x2x4z", Container: "app"},
	"ContainerOOMKilled":       {Namespace: "shop", Pod: "cart-7d9f-x2x4z", Container: "app"},
}

// The labels with which promtool sees the examples fire name a target, and there is an
// example for each cause.
func TestExamplesLeadToTargets(t *testing.T) {
	m := diagnose.DefaultMapping()
	m.SLOs = map[string]incident.Target{"requests": leads["ErrorBudgetBurn"]}
	seen := map[string]bool{}
	for _, group := range readUnits(t, "testdata/examples.yaml").Tests {
		for _, c := range group.Cases {
			for _, want := range c.Want {
				seen[c.Alert] = true
				want.Labels["alertname"] = c.Alert
				got, ok, why := m.Target(incident.Alert{Labels: want.Labels})
				if !ok || got != leads[c.Alert] {
					t.Errorf("%s: %v is %+v %s; want %+v", c.Alert, want.Labels, got, why, leads[c.Alert])
				}
			}
		}
	}
	var causes []incident.Cause
	for _, r := range readRules(t, examples+"alerts.yaml").all() {
		if !seen[r.Alert] {
			t.Errorf("%s is never seen to fire", r.Alert)
		}
		causes = append(causes, incident.Cause(r.Annotations["leads_to"]))
	}
	want := incident.Causes()
	slices.Sort(causes)
	slices.Sort(want)
	if !slices.Equal(causes, want) {
		t.Errorf("the examples lead to %v, and kmend knows %v", causes, want)
	}
}

// amtool runs Debian's.
func amtool(t *testing.T, args ...string) string {
	t.Helper()
	const program = "usr/bin/amtool"
	dir, err := process.Unpacked("prometheus-alertmanager", program)
	if err != nil {
		t.Fatal(err)
	}
	var out, problems strings.Builder
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, program), args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("amtool %s: %v\n%s%s", strings.Join(args, " "), err, &out, &problems)
	}
	return strings.TrimSpace(out.String())
}

// kmend and people get the examples' alerts, people alone kmend's own.
func TestAlertmanagerExample(t *testing.T) {
	if testing.Short() {
		t.Skip("needs amtool; `make test` runs it")
	}
	const file = examples + "alertmanager.yml"
	amtool(t, "check-config", file)
	for _, of := range []struct{ file, want string }{{examples + "alerts.yaml", "kmend,people"}, {rulesFile, "people"}} {
		for _, r := range readRules(t, of.file).all() {
			if got := amtool(t, "config", "routes", "test", "--config.file="+file, "alertname="+r.Alert, "severity="+r.Labels["severity"]); got != of.want {
				t.Errorf("%s goes to %s, want %s", r.Alert, got, of.want)
			}
		}
	}
	if got := amtool(t, "config", "routes", "test", "--config.file="+file, "alertname=Watchdog", "severity=none"); got != "people" {
		t.Errorf("what is no trouble goes to %s", got)
	}
}

// discovery is how Prometheus finds pods, strictly: Debian's promtool has none of
// Kubernetes' and is given a fixed target in its place.
type discovery struct {
	Role       string `json:"role"`
	Namespaces struct {
		Names []string `json:"names"`
	} `json:"namespaces"`
	Selectors []struct {
		Role  string `json:"role"`
		Label string `json:"label"`
	} `json:"selectors"`
}

// withoutKubernetes checks the discoveries of a configuration and takes them out.
func withoutKubernetes(t *testing.T, text []byte) []byte {
	t.Helper()
	var c map[string]any
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		t.Fatal(err)
	}
	jobs, ok := c["scrape_configs"].([]any)
	if !ok || len(jobs) != 2 {
		t.Fatalf("scrape_configs are %v; want kmend's and its agents'", c["scrape_configs"])
	}
	for _, job := range jobs {
		j := job.(map[string]any)
		text, err := yaml.Marshal(j["kubernetes_sd_configs"])
		if err != nil {
			t.Fatal(err)
		}
		var found []discovery
		if err := yaml.UnmarshalStrict(text, &found); err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || found[0].Role != "pod" || len(found[0].Selectors) != 1 || found[0].Selectors[0].Role != "pod" || !slices.Equal(found[0].Namespaces.Names, []string{"kmend"}) {
			t.Errorf("job %v finds %+v", j["job_name"], found)
		}
		if _, err := labels.Parse(found[0].Selectors[0].Label); err != nil {
			t.Errorf("job %v: %v", j["job_name"], err)
		}
		delete(j, "kubernetes_sd_configs")
		j["static_configs"] = []any{map[string]any{"targets": []any{"127.0.0.1:9790"}}}
	}
	out, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPrometheusExample(t *testing.T) {
	if testing.Short() {
		t.Skip("needs promtool; `make test` runs it")
	}
	dir := t.TempDir()
	text, err := os.ReadFile(examples + "prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca.crt")
	moved := strings.Replace(string(withoutKubernetes(t, text)), "/etc/prometheus/secrets/kmend-agent/ca.crt", ca, 1)
	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"prometheus.yml": moved, "kmend-alerts.yaml": string(rules), "ca.crt": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "check", "config", filepath.Join(dir, "prometheus.yml"))
}

// contactPoints is Grafana's provisioning file, strictly: the fields that its
// documentation has of webhooks (alerting, file provisioning and webhook notifier).
type contactPoints struct {
	APIVersion    int `json:"apiVersion"`
	ContactPoints []struct {
		OrgID     int    `json:"orgId"`
		Name      string `json:"name"`
		Receivers []struct {
			UID                   string `json:"uid"`
			Type                  string `json:"type"`
			DisableResolveMessage bool   `json:"disableResolveMessage"`
			Settings              struct {
				URL           string `json:"url"`
				HTTPMethod    string `json:"httpMethod"`
				Username      string `json:"username"`
				Password      string `json:"password"`
				Scheme        string `json:"authorization_scheme"`
				Credentials   string `json:"authorization_credentials"`
				MaxAlerts     string `json:"maxAlerts"`
				HMACConfig    *hmac  `json:"hmacConfig"`
				TLSConfig     any    `json:"tlsConfig"`
				Title         string `json:"title"`
				Message       string `json:"message"`
				CustomPayload any    `json:"payload"`
			} `json:"settings"`
		} `json:"receivers"`
	} `json:"contactPoints"`
}

type hmac struct {
	Secret          string `json:"secret"`
	Header          string `json:"header"`
	TimestampHeader string `json:"timestampHeader"`
}

// No Grafana runs here: its documented schema stands in.
func TestGrafanaExample(t *testing.T) {
	text, err := os.ReadFile(examples + "grafana-contact-point.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c contactPoints
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		t.Fatal(err)
	}
	if c.APIVersion != 1 || len(c.ContactPoints) != 1 || len(c.ContactPoints[0].Receivers) != 1 {
		t.Fatalf("%+v; want one contact point of one receiver", c)
	}
	r := c.ContactPoints[0].Receivers[0]
	if r.Type != "webhook" || r.UID == "" || len(r.UID) > 40 || !strings.HasSuffix(r.Settings.URL, "/webhook/grafana") || r.Settings.HTTPMethod != "POST" ||
		r.Settings.HMACConfig == nil || !strings.HasPrefix(r.Settings.HMACConfig.Secret, "$__file{") || r.DisableResolveMessage {
		t.Errorf("receiver %+v", r)
	}
}
