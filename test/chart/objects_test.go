package chart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// sets are the sets of values in testdata/values, by their names: adding one is
// adding a file.
func sets(t *testing.T) map[string]map[string]any {
	t.Helper()
	paths, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d sets of values: %v", len(paths), err)
	}
	out := map[string]map[string]any{}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := loader.LoadValues(f)
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out[strings.TrimSuffix(filepath.Base(path), ".yaml")] = v
	}
	return out
}

// values reads YAML.
func values(t *testing.T, text string) map[string]any {
	t.Helper()
	v, err := loader.LoadValues(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// rendered is what a release applies. Those of Kubernetes' own kinds are read as an API server
// reads them that refuses unknown and repeated fields.
type rendered struct {
	t       *testing.T
	typed   []runtime.Object
	untyped []*unstructured.Unstructured // all of them
}

func render(t *testing.T, r Release, v map[string]any) rendered {
	t.Helper()
	text, err := r.Manifests(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	out := rendered{t: t}
	codec := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for d := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
		b, err := d.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(b)) == 0 {
			continue
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(b, &u.Object); err != nil {
			t.Fatalf("%v in:\n%s", err, b)
		}
		if u.Object == nil {
			t.Fatalf("a document without an object:\n%s", b)
		}
		out.untyped = append(out.untyped, u)
		if !scheme.Scheme.Recognizes(u.GroupVersionKind()) {
			continue
		}
		o, _, err := codec.Decode(b, nil, nil)
		if err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
			continue
		}
		out.typed = append(out.typed, o)
	}
}

// one is the only object of type T with this name.
func one[T runtime.Object](r rendered, name string) T {
	r.t.Helper()
	var found []T
	for _, o := range all[T](r) {
		if nameOf(o) == name {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		var want T
		r.t.Fatalf("%d objects %T %s, want one", len(found), want, name)
	}
	return found[0]
}

func all[T runtime.Object](r rendered) (out []T) {
	for _, o := range r.typed {
		if o, ok := o.(T); ok {
			out = append(out, o)
		}
	}
	return out
}

func nameOf(o runtime.Object) string {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return ""
	}
	return (&unstructured.Unstructured{Object: m}).GetName()
}

// pods are the templates of all pods, by KIND/NAME.
func (r rendered) pods() map[string]corev1.PodTemplateSpec {
	r.t.Helper()
	out := map[string]corev1.PodTemplateSpec{}
	for _, o := range r.typed {
		switch o := o.(type) {
		case *appsv1.Deployment:
			out["Deployment/"+o.Name] = o.Spec.Template
		case *appsv1.StatefulSet:
			out["StatefulSet/"+o.Name] = o.Spec.Template
		case *appsv1.DaemonSet:
			out["DaemonSet/"+o.Name] = o.Spec.Template
		case *batchv1.Job:
			out["Job/"+o.Name] = o.Spec.Template
		case *batchv1.CronJob:
			out["CronJob/"+o.Name] = o.Spec.JobTemplate.Spec.Template
		case *corev1.Pod:
			r.t.Errorf("a bare pod %s", o.Name)
		}
	}
	return out
}

// selects reports whether a selector chooses the labels.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func keys[V any](m map[string]V) string { return fmt.Sprint(names(maps.Clone(m))) }
