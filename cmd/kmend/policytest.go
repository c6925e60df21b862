package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/policies"
)

// policyTestCmd is `kmend policy test FILES`.
type policyTestCmd struct {
	Files   []string `arg:"" name:"files" help:"Files of cases (kind: PolicyTest), or directories of them."`
	Output  string   `short:"o" enum:"text,json" default:"text" help:"text or json."`
	Verbose bool     `short:"v" help:"Show every answer of every guard, also of cases that are right."`
}

// testReport is what `-o json` prints.
type testReport struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"` // "PolicyTestReport"
	OK         bool              `json:"ok"`
	Cases      []policies.Result `json:"cases"`
}

// Run asks the policies about every case.
func (c *policyTestCmd) Run(_ context.Context, out *output) error {
	results, err := policies.RunTests(c.Files)
	if err != nil {
		return err
	}
	wrong := 0
	for _, r := range results {
		if !r.OK {
			wrong++
		}
	}
	if c.Output == "json" {
		enc := json.NewEncoder(out.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(testReport{incident.APIVersion, "PolicyTestReport", wrong == 0, results}); err != nil {
			return err
		}
	} else {
		c.print(out, results)
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %s wrong", wrong, count(len(results), "case"))
	}
	return nil
}

func (c *policyTestCmd) print(out *output, results []policies.Result) {
	for _, r := range results {
		word := "ok  "
		if !r.OK {
			word = "FAIL"
		}
		fmt.Fprintf(out.Stdout, "%s %s: %s: %s by %s/%s\n", word, r.File, r.Case, r.Decision.Effect, r.Decision.Policy, r.Decision.Rule)
		if !r.OK {
			fmt.Fprintf(out.Stdout, "     %s\n", r.Problem)
		}
		if !c.Verbose {
			continue
		}
		for _, a := range r.Decision.Answers {
			fmt.Fprintf(out.Stdout, "     %s by %s/%s: %s\n", a.Effect, a.Policy, a.Rule, a.Reason)
		}
	}
}
