package chart

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// config is kmend.yaml.
func (r rendered) config(name string) map[string]any {
	r.t.Helper()
	var c map[string]any
	if err := yaml.Unmarshal([]byte(one[*corev1.ConfigMap](r, name+"-config").Data["kmend.yaml"]), &c); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// at is a field of a configuration.
func at(c map[string]any, path ...string) any {
	for _, name := range path[:len(path)-1] {
		c, _ = c[name].(map[string]any)
	}
	return c[path[len(path)-1]]
}

// The parts find one another, whatever the release is called: kmend finds the agents' pods and is
// whom they let in, the Service finds kmend.
func TestPartsFit(t *testing.T) {
	for _, c := range []struct {
		release    Release
		text, name string
	}{
		{DefaultRelease(), `{}`, "kmend"},
		{Release{Name: "prod", Namespace: "sre"}, `agent: {port: 9999}`, "prod-kmend"},
		{Release{Name: "prod", Namespace: "sre"}, `{fullnameOverride: healer, database: {postgres: {existingSecret: db}}}`, "healer"},
		// The CronJob's name, which is longer, has the 52 characters that the API allows.
		{Release{Name: "r23456789012345678901234567890123456789012345", Namespace: "sre"}, `{}`, "r23456789012345678901234567890123456789"},
	} {
		r := render(t, c.release, values(t, c.text))
		conf, agents, pods := r.config(c.name), one[*appsv1.DaemonSet](r, c.name+"-agent"), r.pods()
		port := agents.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort
		selector := map[string]string{}
		for pair := range strings.SplitSeq(at(conf, "agents", "kubernetes", "selector").(string), ",") {
			k, v, _ := strings.Cut(pair, "=")
			selector[k] = v
		}
		service := one[*corev1.Service](r, c.name).Spec
		for id, p := range pods {
			kind, _, _ := strings.Cut(id, "/")
			if selects(selector, p.Labels) != (kind == "DaemonSet") {
				t.Errorf("%s: whether kmend takes %s for an agent: %v", c.name, id, kind != "DaemonSet")
			}
			if responder := kind == "StatefulSet" || kind == "Deployment"; selects(service.Selector, p.Labels) != responder {
				t.Errorf("%s: whether the Service leads to %s: %v", c.name, id, !responder)
			} else if responder {
				caller := "--caller=" + c.release.Namespace + "/" + p.Spec.ServiceAccountName
				if args := agents.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, caller) || p.Spec.ServiceAccountName != c.name {
					t.Errorf("%s: the agents' arguments %q do not have %s", c.name, args, caller)
				}
			}
			one[*corev1.ServiceAccount](r, p.Spec.ServiceAccountName)
		}
		if at(conf, "agents", "kubernetes", "namespace") != c.release.Namespace || at(conf, "agents", "kubernetes", "port") != float64(port) {
			t.Errorf("%s: kmend asks agents at %v, they listen on %d", c.name, at(conf, "agents"), port)
		}
		one[*corev1.ConfigMap](r, at(conf, "kubernetes", "pause", "configMap").(string))
		one[*policyv1.PodDisruptionBudget](r, c.name)
		if job := one[*batchv1.CronJob](r, c.name+"-certificates"); len(job.Name) > 52 {
			t.Errorf("the name of CronJob %s has %d characters, may have 52", job.Name, len(job.Name))
		}
		one[*schedulingv1.PriorityClass](r, agents.Spec.Template.Spec.PriorityClassName)
	}
}

// The defaults change nothing, and need nothing that a cluster may not have.
func TestDefaults(t *testing.T) {
	c := render(t, DefaultRelease(), nil).config("kmend")
	if c["dryRun"] != true || at(c, "agents", "local") != false || at(c, "kubernetes", "enabled") != true {
		t.Errorf("the configuration is %v", c)
	}
	if got, want := names(c), []string{"agents", "api", "apiVersion", "dataDir", "dryRun", "kind", "kubernetes", "listen", "webhook"}; !slices.Equal(got, want) {
		t.Errorf("the configuration has %q, want %q", got, want)
	}
}

// PostgreSQL makes it a Deployment of several, without a volume.
func TestPostgres(t *testing.T) {
	r := render(t, DefaultRelease(), sets(t)["postgres"])
	d := one[*appsv1.Deployment](r, "kmend")
	if *d.Spec.Replicas != 3 || len(all[*appsv1.StatefulSet](r)) > 0 || len(d.Spec.Template.Spec.TopologySpreadConstraints) != 2 {
		t.Errorf("%d replicas, spread by %v", *d.Spec.Replicas, d.Spec.Template.Spec.TopologySpreadConstraints)
	}
	if d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		t.Errorf("an upgrade leaves the old version beside the new one: %+v", d.Spec.Strategy)
	}
	c := r.config("kmend")
	if c["dataDir"] != nil || c["databaseFile"] != "/etc/kmend/database/dsn" {
		t.Errorf("the configuration is %v", c)
	}
	s := one[*appsv1.StatefulSet](render(t, DefaultRelease(), map[string]any{"responder": map[string]any{"replicas": 5}}), "kmend")
	if *s.Spec.Replicas != 1 || len(s.Spec.VolumeClaimTemplates) != 1 {
		t.Errorf("with SQLite: %d replicas, volumes %v", *s.Spec.Replicas, s.Spec.VolumeClaimTemplates)
	}
}

// The values' config is merged over the chart's, field by field.
func TestConfigIsMerged(t *testing.T) {
	c := render(t, DefaultRelease(), values(t, `config: {dryRun: false, agents: {timeout: 20s}, webhook: {maxOpenIncidents: 5}, kubernetes: {pause: {key: stop}}}`)).config("kmend")
	if c["dryRun"] != false || at(c, "agents", "timeout") != "20s" || at(c, "agents", "tokenFile") != "/etc/kmend/agents/token" ||
		at(c, "webhook", "bearerTokenFile") != "/etc/kmend/tokens/webhook" || at(c, "kubernetes", "pause", "configMap") != "kmend" {
		t.Errorf("the configuration is %v", c)
	}
}

// What kmend reads again by itself does not start it anew; what it does not, does.
func TestRestarts(t *testing.T) {
	of := func(text string) string {
		return one[*appsv1.StatefulSet](render(t, DefaultRelease(), values(t, text)), "kmend").Spec.Template.Annotations["kmend.dev/config"]
	}
	usual := of(`{}`)
	for text, want := range map[string]bool{
		`config: {diagnose: {window: 5s}}`: true,
		`config: {dryRun: false}`:          true,
		`config: {routes: [{name: shop, match: ['a="b"'], slack: {"off": true}}]}`: false,
	} {
		if (of(text) != usual) != want {
			t.Errorf("%s: whether it restarts kmend: %v", text, !want)
		}
	}
	if usual == "" {
		t.Error("there is no kmend.dev/config")
	}
}

// An upgrade leaves the switch as a person has set it: its ConfigMap has no data to apply.
func TestPauseIsKept(t *testing.T) {
	if m := one[*corev1.ConfigMap](render(t, DefaultRelease(), nil), "kmend"); len(m.Data) > 0 {
		t.Errorf("an upgrade would set %v", m.Data)
	}
}

// client is a cluster for lookup.
type client struct{ dynamic.Interface }

func (c client) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return c.Resource(schema.FromAPIVersionAndKind(apiVersion, kind).GroupVersion().WithResource(strings.ToLower(kind) + "s")), true, nil
}

// The tokens are made at the first install, each time others, and kept by upgrades.
func TestTokensAreKept(t *testing.T) {
	c, err := loader.LoadDir(Dir())
	if err != nil {
		t.Fatal(err)
	}
	v, err := util.ToRenderValues(c, nil, common.ReleaseOptions{Name: "kmend", Namespace: "kmend", Revision: 1}, common.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	tokens := func(cluster client) (*unstructured.Unstructured, map[string]any) {
		out, err := engine.RenderWithClientProvider(c, v, cluster)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(out["kmend/templates/tokens.yaml"]), &u.Object); err != nil {
			t.Fatal(err)
		}
		return u, u.Object["data"].(map[string]any)
	}
	made, first := tokens(client{fake.NewSimpleDynamicClient(scheme.Scheme)})
	_, other := tokens(client{fake.NewSimpleDynamicClient(scheme.Scheme)})
	_, kept := tokens(client{fake.NewSimpleDynamicClient(scheme.Scheme, made)})
	if len(first) != 2 || first["webhook"] == first["api"] || first["webhook"] == other["webhook"] || first["api"] == other["api"] {
		t.Errorf("the tokens are not each time others: %d", len(first))
	}
	if !maps.Equal(first, kept) {
		t.Error("an upgrade makes other tokens")
	}
	if r := render(t, DefaultRelease(), sets(t)["existing"]); len(all[*corev1.Secret](r)) > 0 {
		t.Error("with tokens.existingSecret the chart makes a Secret")
	}
}

// The warning about the agents' metrics is for those whom it concerns.
func TestNotesWarn(t *testing.T) {
	for _, text := range []string{
		`{}`,
		`{monitoring: {serviceMonitor: {enabled: true}}, networkPolicy: {enabled: false}}`,
		`{monitoring: {serviceMonitor: {enabled: true}}, networkPolicy: {agent: {metricsFrom: [{namespaceSelector: {}}]}}}`,
	} {
		out, err := DefaultRelease().Templates(t.Context(), values(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out["NOTES.txt"], "WARNING") {
			t.Errorf("%s: the notes warn:\n%s", text, out["NOTES.txt"])
		}
	}
}

// What is printed after the installation says where alerts go and how to let it act.
func TestNotes(t *testing.T) {
	for text, want := range map[string][]string{
		`{}`: {
			"http://kmend.kmend.svc:9790/webhook/alertmanager", "statefulset/kmend", "It is in dry run", `--set-file policies.mine\\.yaml=`,
			"port-forward svc/kmend 9790:9790 &", "get secret kmend-tokens -o jsonpath='{.data.api}'",
		},
		`{fullnameOverride: k, tokens: {existingSecret: mine}, responder: {service: {port: 80}}}`: {"port-forward svc/k 9790:80 &", "get secret mine -o"},
		`monitoring: {serviceMonitor: {enabled: true}}`:                                           {"WARNING: monitoring.serviceMonitor.enabled"},
		`config: {dryRun: false}`: {"It has the rights for no action", "what its policies allow"},
		`{config: {dryRun: false}, actions: {scale: true, evict_pod: true}}`: {"It has the rights for evict_pod, scale."},
		`database: {postgres: {existingSecret: db}}`:                         {"deployment/kmend"},
		`responder: {persistence: {enabled: false}}`:                         {"incidents are lost with the pod"},
	} {
		out, err := DefaultRelease().Templates(t.Context(), values(t, text))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(out["NOTES.txt"], w) {
				t.Errorf("%s: the notes do not have %q:\n%s", text, w, out["NOTES.txt"])
			}
		}
	}
}

// As many measurements at once as an agent makes, and itself, fit in what its container
// may take: over its budget a measurement ends itself, over the limit the agent is killed.
func TestMemoryOfTheAgent(t *testing.T) {
	const atOnce, itself = 4, 66 << 20 // its --max-at-once; resident with a full recorder (docs/benchmarks.md, docs/recorder.md)
	c := one[*appsv1.DaemonSet](render(t, DefaultRelease(), nil), "kmend-agent").Spec.Template.Spec.Containers[0]
	budget := int64(0)
	for _, arg := range c.Args {
		if n, ok := strings.CutPrefix(arg, "--memory-budget="); ok {
			var err error
			if budget, err = strconv.ParseInt(n, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	if limit := c.Resources.Limits.Memory().Value(); budget < 40<<20 || atOnce*budget+itself > limit {
		t.Errorf("%d measurements of %d bytes and the agent's %d do not fit in %d, or are too small", atOnce, budget, itself, limit)
	}
}
