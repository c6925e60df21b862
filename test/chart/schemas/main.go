// Command schemas writes testdata/schemas: the JSON Schemas by which kubeconform
// checks the chart's objects, from what Kubernetes, the Prometheus Operator and
// cert-manager publish in their Go modules. So the tests need no network. To be run
// by hand, with other versions.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kmend/kmend/test/chart"
)

const (
	kubernetes = "k8s.io/kubernetes@v1.35.4"
	operator   = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
	certs      = "github.com/cert-manager/cert-manager@v1.21.2"
)

// kinds are those that Kubernetes itself has, by the file of their API group.
var kinds = map[string][]string{
	"api__v1":                             {"ConfigMap", "Namespace", "Secret", "Service", "ServiceAccount"},
	"apis__apps__v1":                      {"DaemonSet", "Deployment", "StatefulSet"},
	"apis__batch__v1":                     {"CronJob", "Job"},
	"apis__networking.k8s.io__v1":         {"NetworkPolicy"},
	"apis__policy__v1":                    {"PodDisruptionBudget"},
	"apis__rbac.authorization.k8s.io__v1": {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
	"apis__scheduling.k8s.io__v1":         {"PriorityClass"},
}

// resources are the files of CustomResourceDefinitions.
var resources = map[string][]string{
	operator: {"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
	certs: {"deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, filepath.Join(chart.Root(), "test", "chart", "testdata", "schemas")); err != nil {
		fmt.Fprintf(os.Stderr, "schemas: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	dir, err := module(ctx, kubernetes)
	if err != nil {
		return err
	}
	for file, wanted := range kinds {
		if err := group(filepath.Join(dir, "api", "openapi-spec", "v3", file+"_openapi.json"), wanted, out); err != nil {
			return err
		}
	}
	for of, files := range resources {
		if dir, err = module(ctx, of); err != nil {
			return err
		}
		for _, file := range files {
			if err := definition(filepath.Join(dir, file), out); err != nil {
				return err
			}
		}
	}
	return nil
}

// module is the folder of a module, fetched through the Go proxy.
func module(ctx context.Context, of string) (string, error) {
	b, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", of).Output()
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", of, err)
	}
	var m struct{ Dir string }
	return m.Dir, json.Unmarshal(b, &m)
}

// group writes the schemas of some kinds of one API group, each with what it refers to.
func group(path string, wanted []string, out string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b = []byte(strings.ReplaceAll(string(b), "#/components/schemas/", "#/definitions/"))
	var spec struct {
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	all := spec.Components.Schemas
	for name, s := range all {
		gvks, _ := s["x-kubernetes-group-version-kind"].([]any)
		if len(gvks) != 1 {
			continue
		}
		gvk := gvks[0].(map[string]any)
		kind, _ := gvk["kind"].(string)
		if !slices.Contains(wanted, kind) {
			continue
		}
		used := map[string]any{}
		refers(s, all, used)
		whole := map[string]any{"$ref": "#/definitions/" + name, "definitions": used}
		used[name] = s
		if err := write(out, kind, gvk["group"].(string), gvk["version"].(string), whole); err != nil {
			return err
		}
	}
	return nil
}

// refers collects the definitions that v refers to.
func refers(v any, all map[string]map[string]any, used map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			name := strings.TrimPrefix(ref, "#/definitions/")
			if _, seen := used[name]; !seen {
				used[name] = all[name]
				refers(all[name], all, used)
			}
		}
		for _, x := range v {
			refers(x, all, used)
		}
	case []any:
		for _, x := range v {
			refers(x, all, used)
		}
	}
}

// definition writes the schemas of a CustomResourceDefinition.
func definition(path, out string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema map[string]any `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(b, &crd); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if len(crd.Spec.Versions) == 0 {
		return errors.New(path + " has no versions")
	}
	for _, v := range crd.Spec.Versions {
		if err := write(out, crd.Spec.Names.Kind, crd.Spec.Group, v.Name, v.Schema.OpenAPIV3Schema); err != nil {
			return err
		}
	}
	return nil
}

// write writes a schema as kubeconform looks for it.
func write(out, kind, group, version string, schema map[string]any) error {
	short, _, _ := strings.Cut(group, ".")
	name := strings.ToLower(strings.TrimPrefix(short+"-"+version, "-"))
	b, err := json.Marshal(strict(schema, false))
	if err != nil {
		return fmt.Errorf("writing the schema of %s: %w", kind, err)
	}
	return os.WriteFile(filepath.Join(out, strings.ToLower(kind)+"-"+name+".json"), append(b, '\n'), 0o644)
}

// strict allows no field that is not named, and leaves out what checks nothing. named
// says that v's keys are names of fields and not words of a schema.
func strict(v any, named bool) any {
	switch v := v.(type) {
	case map[string]any:
		if !named {
			maps.DeleteFunc(v, func(key string, _ any) bool {
				return key == "description" || key == "default" || key == "discriminator" || strings.HasPrefix(key, "x-kubernetes-") && key != "x-kubernetes-preserve-unknown-fields"
			})
			if _, ok := v["properties"]; ok && v["additionalProperties"] == nil && v["x-kubernetes-preserve-unknown-fields"] != true {
				v["additionalProperties"] = false
			}
			if v["format"] == "int-or-string" {
				delete(v, "type")
			}
			if v["nullable"] == true {
				if t, ok := v["type"].(string); ok {
					v["type"] = []any{t, "null"}
				}
			}
		}
		for key, x := range v {
			v[key] = strict(x, !named && (key == "properties" || key == "definitions"))
		}
	case []any:
		for i := range v {
			v[i] = strict(v[i], false)
		}
	}
	return v
}
