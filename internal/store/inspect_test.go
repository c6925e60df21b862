package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// A database is looked at while another process serves it, and nothing of it changes.
func TestInspect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmend.db")
	if _, err := InspectFile(t.Context(), path); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := InspectFile(t.Context(), path); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("an empty file: %v", err)
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	testInspect(t, s, func() (Inspection, error) { return InspectFile(t.Context(), path) })
}

func testInspect(t *testing.T, s *Store, outside func() (Inspection, error)) {
	before := time.Now()
	ingest(t, s, seed(alert("f", incident.Firing, noon)))
	in, err := s.Inspect(t.Context())
	if err != nil || in.Schema != in.Known || in.Schema < 11 || in.Open != 1 || in.Bytes < 4096 || in.Received.Before(before) {
		t.Errorf("%+v, %v", in, err)
	}
	if err := s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO goose_db_version (version_id, is_applied) SELECT 9999, is_applied FROM goose_db_version WHERE version_id = 1`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	out, err := outside()
	if err != nil || out.Schema != 9999 || out.Known != in.Known || out.Open != 1 || !out.Received.Equal(in.Received) {
		t.Errorf("from outside: %+v, %v", out, err)
	}
	if in.Clock.IsZero() != out.Clock.IsZero() || !in.Clock.IsZero() && time.Since(out.Clock).Abs() > time.Minute {
		t.Errorf("clocks %s and %s", in.Clock, out.Clock)
	}
}
