package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// filled are the fields of kmend.yaml whose required parts the chart brings, so that
// values need not.
var filled = [][]string{{}, {"agents", "kubernetes"}, {"kubernetes", "pause"}}

// valuesSchema is the chart's values.schema.json with kmend's own schema for the values
// below config, so that Helm refuses what kmend would. All else in it is written by hand.
func valuesSchema() (string, error) {
	var values, config map[string]any
	for file, into := range map[string]*map[string]any{
		filepath.Join(Dir(), "values.schema.json"):           &values,
		filepath.Join(Root(), "deploy", "kmend.schema.json"): &config,
	} {
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", file, err)
		}
	}
	delete(config, "$schema")
	for _, path := range filled {
		at := config
		for _, name := range path {
			properties, _ := at["properties"].(map[string]any)
			if at, _ = properties[name].(map[string]any); at == nil {
				return "", fmt.Errorf("deploy/kmend.schema.json has no %v", path)
			}
		}
		delete(at, "required")
	}
	properties, _ := values["properties"].(map[string]any)
	if properties == nil {
		return "", fmt.Errorf("%s has no properties", filepath.Join(Dir(), "values.schema.json"))
	}
	properties["config"] = config
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(values); err != nil {
		return "", fmt.Errorf("writing the values' schema: %w", err)
	}
	return b.String(), nil
}
