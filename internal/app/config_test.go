package app

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the wanted errors")

// Every wrong configuration in testdata is refused with the text beside it.
func TestWrongConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			_, err := Load(file)
			if err == nil {
				t.Fatal("accepted")
			}
			got, golden := err.Error()+"\n", strings.TrimSuffix(file, ".yaml")+".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func writeConfig(t *testing.T, dir, yaml string) string {
	t.Helper()
	path := filepath.Join(dir, "kmend.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: kmend.dev/v1\nkind: Config\n"+yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsStayUnlessSaid(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(writeConfig(t, dir, "dataDir: data\ndiagnose:\n  window: 1s\n  labels:\n    node: [instance]\nagents:\n  nodeName: n1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !c.DryRun || !c.Agents.Local || c.Listen != "127.0.0.1:9790" || c.ApprovalExpiry.D() != 15*time.Minute || c.Webhook.MaxOpenIncidents != 1000 {
		t.Errorf("defaults are lost: %+v", c)
	}
	if c.DataDir != filepath.Join(dir, "data") {
		t.Errorf("dataDir = %s; want it from the file's directory", c.DataDir)
	}
	m := c.mapping()
	if len(m.Node) != 1 || m.Node[0] != "instance" || len(m.Pod) < 3 || c.Diagnose.Window.D() != time.Second {
		t.Errorf("mapping = %+v", m)
	}
	if n, err := c.nodeName(); n != "n1" || err != nil {
		t.Errorf("node = %q, %v", n, err)
	}
}

func TestCRISocketIsFoundFromTheFile(t *testing.T) {
	dir := t.TempDir()
	for given, want := range map[string]string{
		"run/cri.sock": filepath.Join(dir, "run/cri.sock"), "/run/cri.sock": "/run/cri.sock", "unix:///run/cri.sock": "/run/cri.sock",
	} {
		c, err := Load(writeConfig(t, dir, "dataDir: data\nagents:\n  criSocket: "+given+"\n"))
		if err != nil || c.Agents.CRISocket != want {
			t.Errorf("criSocket %s = %q, %v; want %q", given, c.Agents.CRISocket, err, want)
		}
	}
}

func TestDefaultIsValid(t *testing.T) {
	if _, err := Default(); err != nil {
		t.Fatal(err)
	}
}

// The example of the documentation is read, and says every default as it is.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```yaml\n# every field\n")
	example, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/configuration.md has no block that starts with `# every field`")
	}
	dir := t.TempDir()
	for _, name := range []string{"webhook.token", "am.password", "read.token", "ada.token", "agents.token", "prometheus.token", "agents-ca.pem", "kubeconfig", "runbooks", "policies", "slack-bot.token", "slack-signing.secret", "slack-app.token", "grafana.secret", "pagerduty.token", "pagerduty.key", "shop-pagerduty.key", "head.tmpl", "note.tmpl", "page.tmpl", "shop.tmpl", "jaeger.token", "tempo.token", "loki.token", "elasticsearch.key", "model.key", "otlp.headers"} {
		text := strings.NewReplacer("otlp.headers", "X-Token: 1", "slack-bot", "xoxb-1", "slack-app", "xapp-1").Replace(name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "database.url"), []byte("postgres://kmend:secret@db/kmend"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kmend.yaml")
	if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	d := DefaultConfig()
	if c.ApprovalExpiry != d.ApprovalExpiry || c.Diagnose.Window != d.Diagnose.Window || c.Agents.Timeout != d.Agents.Timeout || c.DryRun != d.DryRun ||
		c.DataDir != d.DataDir || c.Webhook.MaxBodyBytes != d.Webhook.MaxBodyBytes || c.Webhook.MaxOpenIncidents != d.Webhook.MaxOpenIncidents ||
		c.ExtendWithin != d.ExtendWithin || c.CorrelateWithin != d.CorrelateWithin ||
		strings.Join(c.Diagnose.Labels.Pod, " ") != strings.Join(d.Diagnose.Labels.Pod, " ") || strings.Join(c.Diagnose.Labels.Unit, " ") != strings.Join(d.Diagnose.Labels.Unit, " ") ||
		strings.Join(c.Diagnose.Labels.Node, " ") != strings.Join(d.Diagnose.Labels.Node, " ") || strings.Join(c.Diagnose.Labels.Exporters, " ") != strings.Join(d.Diagnose.Labels.Exporters, " ") {
		t.Errorf("the example differs from the defaults:\n%+v\n%+v", c, d)
	}
}

func TestExposedSecretsAreFound(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(writeConfig(t, dir, "api:\n  tokenFile: token\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.exposed(); len(got) != 0 {
		t.Errorf("mode 0600 is exposed: %v", got)
	}
	if err := os.Chmod(token, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := c.exposed(); len(got) != 1 || got[0] != token {
		t.Errorf("mode 0644: exposed = %v; want %s", got, token)
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "localhost:1": true, "[::1]:1": true, "LOCALHOST:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "evil.example:1": false, "localhost.evil.example:1": false,
	} {
		if got, err := loopback(address); got != want || err != nil {
			t.Errorf("loopback(%s) = %v, %v; want %v", address, got, err, want)
		}
	}
}

// The schema that editors use is the one that kmend checks with.
func TestTheCommittedSchemaIsCurrent(t *testing.T) {
	want, err := ConfigSchema()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../deploy/kmend.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("deploy/kmend.schema.json is not what the types say; run: go generate ./cmd/kmend")
	}
}
