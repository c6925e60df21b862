package chart

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
)

// What is generated from the chart is what the chart makes.
func TestGenerated(t *testing.T) {
	files, err := Generated(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(Root(), name))
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("%s is not what deploy/chart/kmend makes: run make generate", name)
		}
	}
	entries, err := os.ReadDir(filepath.Join(Root(), "deploy", "rbac"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := "deploy/rbac/" + e.Name(); strings.HasSuffix(name, ".yaml") && files[name] == "" {
			t.Errorf("%s is made by no template of the chart", name)
		}
	}
}

func TestLint(t *testing.T) {
	for name, v := range sets(t) {
		for _, m := range lint.RunAll(Dir(), v, "kmend").Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, m.Error())
			}
		}
	}
}

// kubeconform with the schemas of testdata/schemas, which allow no field that is
// not in them. A kind without a schema is an error.
func TestKubeconform(t *testing.T) {
	v, err := validator.New([]string{"testdata/schemas/{{.ResourceKind}}{{.KindSuffix}}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) (problems []string, n int) {
		for _, r := range v.Validate("manifests", io.NopCloser(strings.NewReader(text))) {
			n++
			if r.Status != validator.Valid && r.Status != validator.Empty {
				problems = append(problems, r.Resource.Path+": "+errorOf(r.Err))
			}
		}
		return problems, n
	}
	for name, set := range sets(t) {
		text, err := DefaultRelease().Manifests(t.Context(), set)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		problems, n := check(text)
		for _, p := range problems {
			t.Errorf("%s: %s", name, p)
		}
		if n < 15 {
			t.Errorf("%s: %d objects", name, n)
		}
		// It can fail: the same with a field that is misspelt, and with one of a wrong type.
		for from, to := range map[string]string{"readOnlyRootFilesystem:": "readOnlyRootFileSystem:", "containerPort: ": "containerPort: x"} {
			if problems, _ := check(strings.ReplaceAll(text, from, to)); len(problems) < 2 {
				t.Errorf("%s: %s%s is no error: %q", name, from, to, problems)
			}
		}
	}
}

func errorOf(err error) string {
	if err == nil {
		return "no schema"
	}
	return err.Error()
}

// Everything that is rendered is read strictly, has a name and is in the release's namespace.
func TestObjects(t *testing.T) {
	scoped := map[string]bool{"Namespace": true, "ClusterRole": true, "ClusterRoleBinding": true, "PriorityClass": true}
	for name, v := range sets(t) {
		r := render(t, Release{Name: "kmend", Namespace: "healing", Revision: 3}, v)
		seen := map[string]bool{}
		for _, o := range r.untyped {
			id := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
			if seen[id] {
				t.Errorf("%s: %s is there twice", name, id)
			}
			seen[id] = true
			if want := map[bool]string{false: "healing"}[scoped[o.GetKind()]]; o.GetNamespace() != want && o.GetKind() != "RoleBinding" {
				t.Errorf("%s: %s is in namespace %q, want %q", name, id, o.GetNamespace(), want)
			}
			if o.GetLabels()["app.kubernetes.io/instance"] != "kmend" && o.GetKind() != "Namespace" {
				t.Errorf("%s: %s has the labels %v", name, id, o.GetLabels())
			}
		}
		if len(r.typed) < 15 {
			t.Errorf("%s: %d objects", name, len(r.typed))
		}
	}
}

// What the schema, and the chart, refuse. Each says what is wrong.
func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		`agnet: {port: 1}`:                                   "agnet",
		`agent: {caps: []}`:                                  "caps",
		`agent: {port: 70000}`:                               "65,535",
		`actions: {reboot_node: true}`:                       "reboot_node",
		`actions: {scale: "yes"}`:                            "boolean",
		`config: {dryrun: false}`:                            "dryrun",
		`config: {slack: {token: xoxb}}`:                     "token",
		`config: {listen: 5}`:                                "string",
		`tls: {mode: none}`:                                  "tls/mode",
		`tls: {mode: existing}`:                              "set tls.existingSecret",
		`runbooks: {slow.txt: x}`:                            "slow.txt",
		`secrets: {"../x": y}`:                               "../x",
		`rbac: {mode: namespaced, namespaces: [Shop]}`:       "rbac/namespaces/0",
		`{rbac: {mode: namespaced}, actions: {scale: true}}`: "name the namespaces where it may act in rbac.namespaces",
		`rbac: {namespaces: [shop]}`:                         "set rbac.mode to namespaced",
		`{rbac: {mode: namespaced, namespaces: [shop]}, actions: {drain_node: true}}`: "actions.drain_node acts on nodes",
		`networkPolicy: {responder: {from: [{pods: {}}]}}`:                            "pods",
		`agent: {seccompProfile: {type: runtime/default}}`:                            "seccompProfile/type",
		`responder: {image: {digest: latest}}`:                                        "digest",
	} {
		_, err := DefaultRelease().Manifests(t.Context(), values(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %q", text, err, want)
		}
	}
}

// values.schema.json allows what values.yaml has, value by value, and nothing else.
func TestSchemaKnowsTheValues(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(Dir(), "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	documented, err := Table()
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, r := range documented {
		known = append(known, r.Path)
	}
	definitions, _ := s["definitions"].(map[string]any)
	n := 0
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		if ref, ok := s["$ref"].(string); ok {
			s, _ = definitions[strings.TrimPrefix(ref, "#/definitions/")].(map[string]any)
		}
		properties, _ := s["properties"].(map[string]any)
		switch {
		case path == "global": // Helm's own
		case slices.Contains(known, path):
			n++
		case len(properties) == 0 || s["additionalProperties"] != false:
			t.Errorf("values.schema.json allows %s, which values.yaml does not have, or anything in it", path)
		}
		if path == "global" || slices.Contains(known, path) {
			return
		}
		for name, p := range properties {
			p, _ := p.(map[string]any)
			walk(strings.TrimPrefix(path+"."+name, "."), p)
		}
	}
	walk("", s)
	if n != len(known)-1 { // config.dryRun is within config
		t.Errorf("%d values in the schema, %d documented", n, len(known))
	}
}
