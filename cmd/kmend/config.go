package main

import (
	"context"
	"errors"
	"os"

	"github.com/kmend/kmend/internal/app"
)

// configCmd is `kmend config`.
type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Say everything that kmend serve would refuse, with file, line and column. Starts nothing and asks nobody."`
	Schema configSchemaCmd `cmd:"" help:"Print the JSON Schema of kmend.yaml, for editors."`
}

// configCheckCmd is `kmend config check`.
type configCheckCmd struct {
	Config string `short:"c" type:"path" env:"KMEND_CONFIG" placeholder:"FILE" help:"kmend.yaml; it is checked with the runbooks, policies and templates that it names."`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json (${default})."`
}

// Validate is bad usage.
func (c *configCheckCmd) Validate() error {
	if c.Config == "" {
		return errors.New("which configuration? Name it with --config FILE or KMEND_CONFIG")
	}
	return nil
}

// Run checks the file, and then what it names as far as that is there.
func (c *configCheckCmd) Run(_ context.Context, out *output) error {
	config, wrong, err := app.Check(c.Config, os.Environ()...)
	if err != nil {
		return err
	}
	own := lintedFile{File: c.Config, OK: len(wrong) == 0, Errors: wrong, noun: "configuration"}
	if own.OK {
		own.Documents = 1
	}
	files := []lintedFile{own}
	for _, kind := range []struct {
		noun  string
		paths []string
		load  loader
	}{{"runbook", config.Runbooks, loadRunbooks}, {"policy", config.Policies, loadPolicies}} {
		linted, err := lintAll(kind.paths, kind.noun, kind.load)
		if err != nil && own.OK {
			return err // else the configuration's own errors say it
		}
		files = append(files, linted...)
	}
	if own.OK { // a template that is wrong is an error where the configuration names it
		for _, f := range config.TemplateFiles() {
			files = append(files, lintedFile{File: f, OK: true, Documents: 1, noun: "template"})
		}
	}
	return printLinted(out.Stdout, c.Output, files)
}

type configSchemaCmd struct{}

// Run prints the schema.
func (*configSchemaCmd) Run(_ context.Context, out *output) error {
	return printSchema(out.Stdout, app.ConfigSchema)
}
