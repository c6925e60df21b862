package chart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// generated is the head of what the chart's templates make.
const generated = "# Made from deploy/chart/kmend by `make generate`: change it there.\n"

// Write writes what the repository has of the chart.
func Write(ctx context.Context) error {
	files, err := Generated(ctx)
	if err != nil {
		return err
	}
	for _, name := range names(files) {
		if err := os.WriteFile(filepath.Join(Root(), name), []byte(files[name]), 0o644); err != nil {
			return fmt.Errorf("writing what is generated: %w", err)
		}
	}
	return nil
}

// Generated are the files of the repository that are made from the chart, by their paths.
func Generated(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	rights, err := DefaultRelease().Templates(ctx, everything())
	if err != nil {
		return nil, err
	}
	for name, text := range rights {
		if file, ok := strings.CutPrefix(name, "rbac/"); ok {
			out["deploy/rbac/"+file] = generated + withoutHelm(text)
		}
	}
	plain, err := DefaultRelease().Manifests(ctx, plainValues())
	if err != nil {
		return nil, err
	}
	out["deploy/kmend.yaml"] = generated + plainHead + withoutHelm(plain)
	if out["deploy/chart/kmend/values.schema.json"], err = valuesSchema(); err != nil {
		return nil, err
	}
	if out["deploy/chart/kmend/README.md"], err = readme(); err != nil {
		return nil, err
	}
	return out, nil
}

// everything are the values with which the chart gives all rights that it knows.
func everything() map[string]any {
	on := map[string]any{}
	for _, a := range switches {
		on[a] = true
	}
	return map[string]any{"actions": on, "namespace": map[string]any{"create": true}}
}

// plainValues are those of deploy/kmend.yaml: the defaults, and what Helm does
// beside applying manifests. No manifest that everybody has may hold tokens.
func plainValues() map[string]any {
	return map[string]any{
		"namespace": map[string]any{"create": true},
		"tokens":    map[string]any{"existingSecret": "kmend-tokens"},
	}
}

const plainHead = `# kmend without Helm: the chart with its default values, in dry run, in namespace kmend.
#
#     kubectl apply -f deploy/kmend.yaml
#     kubectl -n kmend create secret generic kmend-tokens --from-literal=webhook="$(openssl rand -hex 20)" --from-literal=api="$(openssl rand -hex 20)"
#
# It acts on nothing. To let it act takes the rights of an action, a policy of yours with
# dryRun: false, for which nothing is mounted here, and dry run off. So set actions, policies
# and config.dryRun in a file of values, and apply what this prints (FILE must be absolute):
#
#     go run -C test/chart ./render -values /ABSOLUTE/values.yaml
#
# docs/install.md has what else such a file needs. A change of the ConfigMap kmend-config by hand
# is read at the start only:
#
#     kubectl -n kmend rollout restart statefulset/kmend
`

// helms are the labels by which Helm knows its own.
var helms = regexp.MustCompile(`(?m)^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n`)

func withoutHelm(text string) string { return helms.ReplaceAllString(text, "") }
