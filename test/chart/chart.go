// Package chart renders kmend's Helm chart (deploy/chart/kmend) with Helm's own
// engine, for what is generated from it, for the tests of it, and for those who
// install it without Helm. It is a module of its own, so that Helm's dependencies are not
// kmend's.
package chart

import (
	"context"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1/util"
)

// Root is the repository, and Dir the chart in it.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Dir is the chart's folder.
func Dir() string { return filepath.Join(Root(), "deploy", "chart", "kmend") }

// Release is an installation of the chart.
type Release struct {
	Name, Namespace string
	Revision        int // 0 is 1, the first
}

// DefaultRelease is what the documentation installs.
func DefaultRelease() Release { return Release{Name: "kmend", Namespace: "kmend", Revision: 1} }

// Templates renders the chart with values over its own; the keys are the paths of
// templates below templates/, NOTES.txt among them. Values that the schema does
// not allow are an error.
func (r Release) Templates(ctx context.Context, values map[string]any) (map[string]string, error) {
	c, err := loader.LoadDir(Dir())
	if err != nil {
		return nil, fmt.Errorf("loading the chart: %w", err)
	}
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{
		Name: r.Name, Namespace: r.Namespace, Revision: max(r.Revision, 1), IsInstall: r.Revision < 2, IsUpgrade: r.Revision > 1,
	}, common.DefaultCapabilities)
	if err != nil {
		return nil, fmt.Errorf("the chart's values: %w", err)
	}
	rendered, err := engine.Engine{Strict: true}.RenderWithContext(ctx, c, all)
	if err != nil {
		return nil, fmt.Errorf("rendering the chart: %w", err)
	}
	out := map[string]string{}
	for name, text := range rendered {
		short := strings.TrimPrefix(name, "kmend/templates/")
		if text = strings.TrimSpace(text); text != "" && !strings.HasPrefix(path.Base(short), "_") {
			out[short] = text + "\n"
		}
	}
	return out, nil
}

// Manifests is what `helm install` applies, in its order: one text of many
// documents, each below a comment that names its template.
func (r Release) Manifests(ctx context.Context, values map[string]any) (string, error) {
	templates, err := r.Templates(ctx, values)
	if err != nil {
		return "", err
	}
	delete(templates, "NOTES.txt")
	hooks, manifests, err := release.SortManifests(templates, nil, release.InstallOrder)
	if err != nil {
		return "", fmt.Errorf("sorting the manifests: %w", err)
	}
	if len(hooks) > 0 {
		return "", fmt.Errorf("%d hooks: who applies the manifests without Helm would not have them", len(hooks))
	}
	var b strings.Builder
	for _, m := range manifests {
		fmt.Fprintf(&b, "---\n# %s\n%s\n", m.Name, strings.TrimSpace(m.Content))
	}
	return b.String(), nil
}

// names are the keys of a map in order.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
