package app

import (
	"context"
	"net/url"
	"os"
	"strings"
	"time"

	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/internal/store"
	"github.com/kmend/kmend/runbooks"
)

// examiner looks at an installation from where kmend runs: as a configuration says
// it, and with what a running kmend knows beside that.
type examiner struct {
	config  Config
	version string
	steps   []runbooks.Step // of the runbooks in use
	// database looks at the database.
	database func(context.Context) (store.Inspection, error)
	arrivals *arrivals    // nil: no server is asked
	local    *agent.Agent // nil: this process has none
	reloads  *reloads     // nil: no server is asked
}

// Doctor says what is to be done about the installation that the configuration at
// path describes, as seen from here; without a path, the default one. waiting is told
// what is waited for.
func Doctor(ctx context.Context, path string, o Options, waiting func([]string)) doctor.Report {
	now := time.Now()
	c, lines := loadChecked(path, os.Environ()...)
	if c == nil {
		return doctor.NewReport(now, lines)
	}
	e := examiner{config: *c, version: o.Version, database: c.inspect}
	e.steps, _ = c.steps() // their errors are among the lines
	return doctor.NewReport(now, append(lines, e.run(ctx, waiting)...))
}

// run runs the checks. No line has a secret of the configuration in it, whoever
// repeated one.
func (e examiner) run(ctx context.Context, waiting func([]string)) []doctor.Line {
	var cluster client.Interface
	checks := e.own()
	if e.config.Kubernetes.Enabled {
		var err error
		var clock doctor.Check
		if cluster, clock, err = e.connect(); err != nil {
			checks = append(checks, saying("cluster", doctor.Wrong("Kubernetes API", "correct kubernetes in the configuration", "%v", err)))
		} else {
			checks = append(checks, clock, e.rights(cluster))
		}
	} else {
		checks = append(checks, saying("cluster", doctor.Absent("Kubernetes API", "not configured (kubernetes.enabled)")))
	}
	checks = append(checks, e.agents(cluster))
	checks = append(checks, e.talks()...)
	checks = append(checks, e.sources()...)
	lines := doctor.Run(ctx, checks, waiting)
	hide := e.config.hidden()
	for i, l := range lines {
		lines[i].Found, lines[i].Todo = hide.Replace(l.Found), hide.Replace(l.Todo)
	}
	return lines
}

// saying is a check whose answer is known.
func saying(group string, lines ...doctor.Line) doctor.Check {
	return doctor.Check{Group: group, Name: lines[0].Name, Run: func(context.Context) []doctor.Line { return lines }}
}

// hidden replaces the secrets that the configuration names.
func (c Config) hidden() *strings.Replacer {
	var pairs []string
	for _, file := range c.secretFiles() {
		f, err := secret.Open(file)
		if err != nil {
			continue
		}
		if v, err := f.Value(); err == nil && len(v) >= 4 {
			pairs = append(pairs, v, "[secret]")
			if u, err := url.Parse(v); err == nil { // of a database
				if password, set := u.User.Password(); set && len(password) >= 4 {
					pairs = append(pairs, password, "[secret]")
				}
			}
		}
	}
	return strings.NewReplacer(pairs...)
}
