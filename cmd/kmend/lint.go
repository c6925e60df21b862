package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/internal/document"
	"github.com/kmend/kmend/policies"
	"github.com/kmend/kmend/runbooks"
)

//go:generate sh -c "go run . runbook schema > runbook.tmp && mv runbook.tmp ../../runbooks/runbook.schema.json"
//go:generate sh -c "go run . policy schema > policy.tmp && mv policy.tmp ../../policies/policy.schema.json"

// runbookCmd is `kmend runbook`.
type runbookCmd struct {
	Lint     runbookLintCmd   `cmd:"" help:"Check runbook files: every error with its file, line and column."`
	Simulate simulateCmd      `cmd:"" help:"Show what a runbook would do about an incident: steps, dry runs, policies. Changes nothing."`
	Schema   runbookSchemaCmd `cmd:"" help:"Print the JSON Schema of runbooks, for editors."`
}

// policyCmd is `kmend policy`.
type policyCmd struct {
	Lint   policyLintCmd   `cmd:"" help:"Check policy files: every error with its file, line and column."`
	Test   policyTestCmd   `cmd:"" help:"Ask policies about cases, and compare with what is wanted."`
	Schema policySchemaCmd `cmd:"" help:"Print the JSON Schema of policies, for editors."`
}

// lintFlags are what both lint commands take.
type lintFlags struct {
	Files  []string `arg:"" name:"files" help:"YAML files, or directories of them."`
	Output string   `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

type runbookLintCmd struct{ lintFlags }

// Run checks the runbooks.
func (c *runbookLintCmd) Run(_ context.Context, out *output) error {
	return c.lint(out.Stdout, "runbook", func(paths []string) (interface{ Len() int }, error) {
		specs, err := app.ActionSpecs()
		if err != nil {
			return nil, err
		}
		return runbooks.Load(paths, specs)
	})
}

type policyLintCmd struct{ lintFlags }

// Run checks the policies.
func (c *policyLintCmd) Run(_ context.Context, out *output) error {
	return c.lint(out.Stdout, "policy", func(paths []string) (interface{ Len() int }, error) {
		return policies.Load(paths)
	})
}

type runbookSchemaCmd struct{}

// Run prints the schema.
func (*runbookSchemaCmd) Run(_ context.Context, out *output) error {
	return printSchema(out.Stdout, func() ([]byte, error) {
		specs, err := app.ActionSpecs()
		if err != nil {
			return nil, err
		}
		return runbooks.Schema(specs)
	})
}

type policySchemaCmd struct{}

// Run prints the schema.
func (*policySchemaCmd) Run(_ context.Context, out *output) error {
	return printSchema(out.Stdout, policies.Schema)
}

func printSchema(w io.Writer, schema func() ([]byte, error)) error {
	text, err := schema()
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// lintReport is what `-o json` prints.
type lintReport struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"` // "LintReport"
	OK         bool         `json:"ok"`
	Files      []lintedFile `json:"files"`
}

// lintedFile is the account of one file.
type lintedFile struct {
	File      string            `json:"file"`
	OK        bool              `json:"ok"`
	Documents int               `json:"documents"` // that are right; 0 unless OK
	Errors    []*document.Error `json:"errors,omitempty"`
}

// lint checks each file by itself, then all of them together for what only the
// set can show: names that are taken twice.
func (c *lintFlags) lint(w io.Writer, noun string, load func([]string) (interface{ Len() int }, error)) error {
	files, err := document.Files(c.Files)
	if err != nil {
		return err
	}
	report := lintReport{APIVersion: incident.APIVersion, Kind: "LintReport", OK: true}
	var right []string
	for _, file := range files {
		linted := lintedFile{File: file}
		set, err := load([]string{file})
		if linted.Errors, err = positioned(err); err != nil {
			return err
		}
		if linted.OK = linted.Errors == nil; linted.OK {
			linted.Documents = set.Len()
			right = append(right, file)
		}
		report.Files = append(report.Files, linted)
	}
	_, err = load(right)
	together, err := positioned(err)
	if err != nil {
		return err
	}
	wrong := 0
	for i := range report.Files {
		f := &report.Files[i]
		for _, e := range together {
			if e.File == f.File {
				f.OK, f.Documents, f.Errors = false, 0, append(f.Errors, e)
			}
		}
		if !f.OK {
			wrong++
		}
	}
	report.OK = wrong == 0
	if err := c.print(w, noun, report); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %s wrong", wrong, count(len(files), "file"))
	}
	return nil
}

// positioned splits the errors that have a place in a file from any other.
func positioned(err error) ([]*document.Error, error) {
	var errs document.Errors
	if errors.As(err, &errs) {
		return errs, nil
	}
	return nil, err
}

func (c *lintFlags) print(w io.Writer, noun string, report lintReport) error {
	if c.Output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	for _, f := range report.Files {
		if f.OK {
			if _, err := fmt.Fprintf(w, "%s: ok (%s)\n", f.File, count(f.Documents, noun)); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintln(w, document.Errors(f.Errors)); err != nil {
			return err
		}
	}
	return nil
}

// count is "1 file", "2 files", "2 policies".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if noun == "policy" {
		noun = "policie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
