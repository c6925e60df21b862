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
//go:generate sh -c "go run . config schema > config.tmp && mv config.tmp ../../deploy/kmend.schema.json"

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
	return c.lint(out.Stdout, "runbook", loadRunbooks)
}

type policyLintCmd struct{ lintFlags }

// Run checks the policies.
func (c *policyLintCmd) Run(_ context.Context, out *output) error {
	return c.lint(out.Stdout, "policy", loadPolicies)
}

// loader reads all documents behind paths.
type loader func(paths []string) (interface{ Len() int }, error)

func loadRunbooks(paths []string) (interface{ Len() int }, error) {
	specs, err := app.ActionSpecs()
	if err != nil {
		return nil, err
	}
	return runbooks.Load(paths, specs)
}

func loadPolicies(paths []string) (interface{ Len() int }, error) { return policies.Load(paths) }

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
	noun      string            // what its documents are
}

// lint checks files of one kind and prints what is wrong.
func (c *lintFlags) lint(w io.Writer, noun string, load loader) error {
	files, err := lintAll(c.Files, noun, load)
	if err != nil {
		return err
	}
	return printLinted(w, c.Output, files)
}

// lintAll checks each file by itself, then all of them together for what only the
// set can show: names that are taken twice.
func lintAll(paths []string, noun string, load loader) ([]lintedFile, error) {
	files, err := document.Files(paths)
	if err != nil {
		return nil, err
	}
	var all []lintedFile
	var right []string
	for _, file := range files {
		linted := lintedFile{File: file, noun: noun}
		set, err := load([]string{file})
		if linted.Errors, err = positioned(err); err != nil {
			return nil, err
		}
		if linted.OK = linted.Errors == nil; linted.OK {
			linted.Documents = set.Len()
			right = append(right, file)
		}
		all = append(all, linted)
	}
	_, err = load(right)
	together, err := positioned(err)
	if err != nil {
		return nil, err
	}
	for i := range all {
		for _, e := range together {
			if f := &all[i]; e.File == f.File {
				f.OK, f.Documents, f.Errors = false, 0, append(f.Errors, e)
			}
		}
	}
	return all, nil
}

// positioned splits the errors that have a place in a file from any other.
func positioned(err error) ([]*document.Error, error) {
	var errs document.Errors
	if errors.As(err, &errs) {
		return errs, nil
	}
	return nil, err
}

// printLinted prints the account of files; that one is wrong is an error.
func printLinted(w io.Writer, output string, files []lintedFile) error {
	wrong := 0
	for _, f := range files {
		if !f.OK {
			wrong++
		}
	}
	var err error
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(lintReport{APIVersion: incident.APIVersion, Kind: "LintReport", OK: wrong == 0, Files: files})
	} else {
		err = textOf(w, files)
	}
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%d of %s wrong", wrong, count(len(files), "file"))
	}
	return err
}

func textOf(w io.Writer, files []lintedFile) error {
	for _, f := range files {
		text := fmt.Sprintf("%s: ok (%s)", f.File, count(f.Documents, f.noun))
		if !f.OK {
			text = document.Errors(f.Errors).Error()
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
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
