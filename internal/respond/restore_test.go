package respond

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/store"
)

// A backup of the moment when a step had begun knows nothing of its end: after a
// restore the step is not done again, and nothing is undone.
func TestRestoredIncidentIsNotResumed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, file := filepath.Join(dir, "kmend.db"), filepath.Join(dir, "backup")
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	first := &stages{apply: func(_ context.Context, _ incident.Plan, step int) (incident.Execution, error) {
		if step == 0 {
			close(begun)
			<-goOn
		}
		return incident.Execution{Before: "0.3 CPU", After: "0.6 CPU", Result: "applied", State: map[string]string{"quota": "30000"}}, nil
	}}
	r, err := New(options(s, first))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := bench{Responder: r, t: t, store: s, d: first}
	b.ingest(firing("/a"))
	<-begun
	if err := store.Backup(t.Context(), path, file); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if inc := b.reported(); inc.Outcome != incident.Fixed || len(inc.Executions) != 2 {
		t.Fatalf("%s, %d executions", inc.Outcome, len(inc.Executions))
	}
	b.stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := store.Restore(t.Context(), file, path, true)
	if err != nil || done.Interrupted != 1 {
		t.Fatalf("%+v, %v", done, err)
	}

	if s, err = store.Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	second := &stages{}
	after := startOn(t, s, second)
	after.ingest(firing("/a")) // Alertmanager says it again: the same firing
	inc := after.reported()
	if inc.Outcome != incident.Interrupted || len(inc.Executions) != 0 || !strings.Contains(inc.Reason, "restored from a backup") {
		t.Errorf("%s (%s), %d executions", inc.Outcome, inc.Reason, len(inc.Executions))
	}
	if asked := second.notes(); slices.ContainsFunc(asked, func(n string) bool { return strings.HasPrefix(n, "apply") || strings.HasPrefix(n, "undo") }) {
		t.Errorf("asked: %v", asked)
	}
}
