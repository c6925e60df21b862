// Package rbac knows the rights that a cluster gives kmend and its agents: the
// manifests of this folder, as `kubectl apply -f deploy/rbac` reads them. The
// actions on Kubernetes ask it which file grants what they lack; the tests run with
// exactly these rights.
package rbac

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed *.yaml
var manifests embed.FS

// Grant is one right: one verb on one resource.
type Grant struct {
	File                  string // that grants it, below the source's root: "deploy/rbac/evict.yaml"
	Verb, Group, Resource string // "create", "", "pods/eviction"
	Names                 []string
}

// Rule is the grant as a rule of a role.
func (g Grant) Rule() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{g.Verb}, APIGroups: []string{g.Group}, Resources: []string{g.Resource}, ResourceNames: g.Names}
}

// Objects are those of all files, in the order in which `kubectl apply` makes them.
func Objects() (out []*unstructured.Unstructured, err error) {
	err = each(func(_ string, o *unstructured.Unstructured) error {
		out = append(out, o)
		return nil
	})
	return out, err
}

// agents is the one file whose rights are the agents' and not kmend's. It is read
// after base.yaml, which makes the namespace.
const agents = "kmend-agent.yaml"

// Grants are kmend's rights of all files.
func Grants() ([]Grant, error) { return grants(func(file string) bool { return file != agents }) }

// AgentGrants are the agents' rights.
func AgentGrants() ([]Grant, error) { return grants(func(file string) bool { return file == agents }) }

func grants(of func(file string) bool) (out []Grant, err error) {
	err = each(func(file string, o *unstructured.Unstructured) error {
		if !of(file) {
			return nil
		}
		if o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			return nil
		}
		var role rbacv1.ClusterRole
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &role, true); err != nil {
			return err
		}
		for _, r := range role.Rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, verb := range r.Verbs {
						out = append(out, Grant{"deploy/rbac/" + file, verb, group, resource, r.ResourceNames})
					}
				}
			}
		}
		return nil
	})
	return out, err
}

// Watching is the file that repeats rights of other files, for it stands for
// itself, and is the only one that lets kmend watch.
const Watching = "deploy/rbac/watch.yaml"

// File is the file that grants a right everywhere, "" when none does.
func File(verb, group, resource string) (file string) {
	grants, err := Grants()
	if err != nil {
		return ""
	}
	for _, g := range grants {
		if g.Verb != verb || g.Group != group || g.Resource != resource || len(g.Names) > 0 {
			continue
		}
		if g.File != Watching {
			return g.File // who lacks a right of an action needs that action's file
		}
		file = g.File
	}
	return file
}

func each(do func(file string, o *unstructured.Unstructured) error) error {
	entries, err := manifests.ReadDir(".")
	if err != nil {
		return fmt.Errorf("reading the manifests: %w", err)
	}
	for _, e := range entries {
		text, err := manifests.ReadFile(e.Name())
		if err != nil {
			return fmt.Errorf("reading %s: %w", e.Name(), err)
		}
		for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
			o := &unstructured.Unstructured{}
			if err := d.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("reading %s: %w", e.Name(), err)
			}
			if err := do(e.Name(), o); err != nil {
				return fmt.Errorf("reading %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}
