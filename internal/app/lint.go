package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/internal/document"
)

// Check looks for everything in the configuration at path that New would refuse here,
// but for what only a start can show: that the address is free and the database
// answers. It starts nothing, writes nothing and asks nobody. The configuration is
// given as far as it can be read, so that what it names can be looked at as well;
// errs are what is wrong in the file itself. err is for a file that cannot be read.
func Check(path string, environ ...string) (c Config, errs document.Errors, err error) {
	c, doc, err := read(path, environ)
	if errors.As(err, &errs) {
		return Config{}, errs, nil
	}
	if err != nil {
		return Config{}, nil, err
	}
	problems := c.problems()
	if len(problems) == 0 {
		problems = c.unusable() // which would say the same again in other words
	}
	return c, c.placed(doc, problems).Sort(), nil
}

// unusable finds what New refuses of a configuration whose fields are right.
func (c Config) unusable() []problem {
	var k checker
	refused := func(path string, err error) {
		if err != nil {
			k.at(path, "%s: %v", path, err)
		}
	}
	if info, err := os.Stat(c.DataDir); err == nil && !info.IsDir() && !c.shared() {
		k.at("dataDir", "dataDir is %s, which is a file; want a directory, which is made where it is missing", c.DataDir)
	}
	cluster, _, err := c.cluster("")
	refused("kubernetes", err)
	a := &App{config: c, log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry()}
	if err == nil {
		_, err = a.investigator()
		refused("diagnose", err)
	}
	set, err := a.policies()
	if errors.Is(err, errAcknowledges) {
		refused("pagerduty", err)
	}
	if err == nil {
		_, err = a.guard(set, nothingDone{}, nil, cluster)
		refused("prometheus", err)
	}
	_, err = c.Routing()
	refused("routes", err)
	return k
}

// TemplateFiles are the files of the templates that a configuration names, each once.
func (c Config) TemplateFiles() []string {
	files := []string{c.Templates.Slack, c.Templates.PagerDuty, c.Templates.Text}
	for _, r := range c.Routes {
		if r.Slack != nil {
			files = append(files, r.Slack.Template)
		}
		if r.PagerDuty != nil {
			files = append(files, r.PagerDuty.Template)
		}
	}
	seen := map[string]bool{"": true}
	var once []string
	for _, f := range files {
		if !seen[f] {
			once, seen[f] = append(once, f), true
		}
	}
	return once
}

// ConfigSchema is the JSON Schema of kmend.yaml.
func ConfigSchema() ([]byte, error) {
	s, err := document.SchemaOf(Config{})
	if err != nil {
		return nil, err
	}
	raw := s.Raw()
	raw["title"] = "kmend configuration"
	text, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(text, '\n'), nil
}
