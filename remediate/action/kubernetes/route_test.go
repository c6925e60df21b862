package kubernetes_test

import (
	"context"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// route creates the HTTPRoute "front", and plays its gateway until the test ends.
func (s *stage) route() {
	s.Helper()
	b, err := os.ReadFile("testdata/httproute.yaml")
	s.must(err)
	crd := &unstructured.Unstructured{}
	s.must(yaml.Unmarshal(b, &crd.Object))
	_, err = s.dyn.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}).Create(s.Context(), crd, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		s.must(err)
	}
	ref := func(name string, weight int64) any { return map[string]any{"name": name, "weight": weight} }
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": map[string]any{"name": "front"},
		"spec": map[string]any{"rules": []any{
			map[string]any{"backendRefs": []any{ref("stable", 90), ref("canary", 10)}},
			map[string]any{"backendRefs": []any{ref("other", 1)}}}},
	}}
	routes := s.dyn.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}).Namespace(s.namespace)
	s.eventually("the API server knows HTTPRoutes", func() bool {
		_, err := routes.Create(s.Context(), o, metav1.CreateOptions{})
		return err == nil
	})
	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan struct{})
	s.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			o, err := routes.Get(ctx, "front", metav1.GetOptions{})
			if err != nil {
				continue
			}
			yes := func(kind string) any {
				return map[string]any{"type": kind, "status": "True", "observedGeneration": o.GetGeneration()}
			}
			o.Object["status"] = map[string]any{"parents": []any{map[string]any{"conditions": []any{yes("Accepted"), yes("ResolvedRefs")}}}}
			_, _ = routes.UpdateStatus(ctx, o, metav1.UpdateOptions{}) // a conflict: the next round
		}
	}()
}
