package runbooks

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// -update rewrites the wanted outputs: look at the difference before you commit it.
var update = flag.Bool("update", false, "rewrite the golden files")

// limitParams is what the actions on limits take, as an action would declare it.
type limitParams struct {
	Factor float64 `json:"factor,omitempty" jsonschema:"exclusiveMinimum=1,maximum=10"`
	Max    float64 `json:"max" jsonschema:"exclusiveMinimum=0"`
}

// memoryParams are those of a limit that is a text, such as 8Gi.
type memoryParams struct {
	Property string  `json:"property,omitempty" jsonschema:"enum=MemoryHigh,enum=MemoryMax"`
	Factor   float64 `json:"factor,omitempty" jsonschema:"exclusiveMinimum=1,maximum=10"`
	Max      string  `json:"max" jsonschema:"minLength=1"`
}

// scaleParams are those of a number of replicas.
type scaleParams struct {
	By     int     `json:"by,omitempty" jsonschema:"minimum=1"`
	Factor float64 `json:"factor,omitempty" jsonschema:"exclusiveMinimum=1,maximum=10"`
	Max    int     `json:"max" jsonschema:"minimum=1"`
}

// restartParams has one field of each other kind.
type restartParams struct {
	Reason string   `json:"reason" jsonschema:"minLength=3"`
	Grace  int      `json:"grace,omitempty" jsonschema:"minimum=0,maximum=600"`
	Force  bool     `json:"force,omitempty"`
	Mode   string   `json:"mode,omitempty" jsonschema:"enum=soft,enum=hard"`
	Only   []string `json:"only,omitempty"`
}

func specs() []ActionSpec {
	return []ActionSpec{
		{Name: "kubernetes.resize_cpu", Params: &limitParams{}},
		{Name: "cgroup.set_cpu_quota", Params: &limitParams{}},
		{Name: "kubernetes.resize_memory", Params: &memoryParams{}},
		{Name: "systemd.set_property", Params: &memoryParams{}},
		{Name: "kubernetes.scale", Params: &scaleParams{}},
		{Name: "kubernetes.raise_hpa_max", Params: &scaleParams{}},
		{Name: "kubernetes.cordon_node", Params: &struct{}{}},
		{Name: "kubernetes.evict_pod", Params: &struct{}{}, Irreversible: true},
		{Name: "kubernetes.leave_service", Params: &struct{}{}},
		{Name: "test.restart", Params: &restartParams{}, Irreversible: true},
	}
}

// golden compares got with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- got\n%s\n--- want\n%s", path, got, want)
	}
}

// cases lists the folders (or files) that match.
func cases(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("no cases match %s (%v)", pattern, err)
	}
	return found
}
