package app

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/runbooks"
)

// steps are those of the runbooks that the configuration names.
func (c Config) steps() ([]runbooks.Step, error) {
	a := &App{config: c, log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry()}
	known, err := a.executor("any", nil, nil)
	if err != nil {
		return nil, err
	}
	set, err := a.planner(known.Specs())
	if err != nil {
		return nil, err
	}
	return set.Steps(), nil
}

// loadChecked reads the configuration, and says of it and of what it names what is
// wrong; nil: it cannot be read.
func loadChecked(path string, environ ...string) (*Config, []doctor.Line) {
	if path == "" {
		c, err := Default(environ...)
		if err != nil {
			return nil, configLines(path, []string{err.Error()})
		}
		return &c, configLines("", nil)
	}
	c, errs, err := Check(path, environ...)
	if err != nil {
		return nil, configLines(path, []string{err.Error()})
	}
	var wrong []string
	for _, e := range errs {
		wrong = append(wrong, fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message)) // not the source line: it may hold anything
	}
	if c.APIVersion == "" {
		return nil, configLines(path, wrong)
	}
	return &c, append(configLines(path, wrong), documentLines(c)...)
}

func configLines(path string, wrong []string) []doctor.Line {
	name := path
	if name == "" {
		name = "defaults"
	}
	var lines []doctor.Line
	for _, w := range wrong {
		lines = append(lines, doctor.Wrong(name, "correct it; `kmend config check` shows the place", "%s", w))
	}
	if len(lines) == 0 {
		lines = []doctor.Line{doctor.Fine(name, "nothing is wrong with it")}
	}
	return grouped("configuration", lines)
}

// documentLines are about the runbooks and the policies that the configuration names.
func documentLines(c Config) []doctor.Line {
	line := func(name string, n int, err error) doctor.Line {
		if err != nil {
			first, _, more := strings.Cut(err.Error(), "\n")
			if more {
				first += " ..."
			}
			return doctor.Wrong(name, "correct them; `kmend config check` shows the places", "%s", first)
		}
		return doctor.Fine(name, "%d", n)
	}
	steps, err := c.steps()
	lines := []doctor.Line{line("runbook steps", len(steps), err)}
	set, err := (&App{config: c}).policies()
	n := 0
	if err == nil {
		n = len(set.Names())
	}
	return grouped("configuration", append(lines, line("policies", n, err)))
}

func grouped(group string, lines []doctor.Line) []doctor.Line {
	for i := range lines {
		lines[i].Group = group
	}
	return lines
}
