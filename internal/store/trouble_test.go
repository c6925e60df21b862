package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmend/kmend/incident"
)

// commits counts the transactions of the database: its change counter is only in
// the file after a checkpoint, so the frames of the log are counted instead.
func commits(t *testing.T, s *Store) int {
	t.Helper()
	wal, err := os.ReadFile(s.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	const header, frame = 32, 24
	page := int(wal[8])<<24 | int(wal[9])<<16 | int(wal[10])<<8 | int(wal[11])
	n := 0
	for at := header; at+frame+page <= len(wal); at += frame + page {
		if f := wal[at:]; f[4]|f[5]|f[6]|f[7] != 0 { // the size of the database, set in the last frame of a transaction
			n++
		}
	}
	return n
}

func waitFor(c <-chan struct{}) func(context.Context, *sql.Conn) error {
	return func(context.Context, *sql.Conn) error { <-c; return nil }
}

// big is a seed that takes some pages.
func big(i int) Seed {
	a := alert("1", incident.Firing, noon)
	a.Annotations = map[string]string{"description": strings.Repeat("x", 20_000)}
	return Seed{DedupKey: fmt.Sprint(i), Alerts: []incident.Alert{a}}
}

// fill ingests until the storage refuses; what was accepted must be there, and
// afterwards space lets new ones in again.
func fill(t *testing.T, s *Store, makeRoom func()) {
	t.Helper()
	accepted := map[string]bool{}
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		var got []Ingested
		if got, err = s.Ingest(t.Context(), []Seed{big(i)}, 1<<20); err == nil {
			accepted[got[0].ID] = true
		}
	}
	if err == nil || Refused(err) || !strings.Contains(err.Error(), "full") {
		t.Fatalf("after %d incidents: %v, want a full disk", len(accepted), err)
	}
	t.Logf("after %d incidents: %v", len(accepted), err)
	if len(accepted) == 0 {
		t.Fatal("nothing was accepted")
	}
	makeRoom()
	if _, err := s.Ingest(t.Context(), []Seed{big(-1)}, 1<<20); err != nil {
		t.Errorf("with space again: %v", err)
	}
	ids, err := openIDs(t.Context(), s)
	if err != nil || len(ids) != len(accepted)+1 {
		t.Errorf("%d incidents are there, %d were accepted, %v", len(ids), len(accepted)+1, err)
	}
}

func TestDatabaseFull(t *testing.T) {
	s := openTest(t)
	limit := func(pages int) {
		err := s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error {
			_, err := c.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(100)
	fill(t, s, func() { limit(1 << 20) })
}

func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root; runs in .ci/run")
	}
	dir := t.TempDir()
	mount := func(flags uintptr, size string) {
		if err := unix.Mount("kmend", dir, "tmpfs", flags, "size="+size); err != nil {
			t.Fatalf("mounting a tmpfs of %s: %v", size, err)
		}
	}
	mount(0, "1m")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(t.Context(), filepath.Join(dir, "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fill(t, s, func() { mount(unix.MS_REMOUNT, "64m") })
}

// A database that another connection keeps locked is an error after the busy
// timeout, not a wait without end.
func TestLocked(t *testing.T) {
	s, err := open(t.Context(), filepath.Join(t.TempDir(), "kmend.db"), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	db, err := s.DB()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin() // immediate
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ingest(t.Context(), []Seed{big(1)}, 10); err == nil || Refused(err) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("Ingest into a locked database: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	ingest(t, s, big(1))
}

func TestReadOnly(t *testing.T) {
	s := openTest(t)
	err := s.write.do(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, "PRAGMA query_only = ON")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ingest(t.Context(), []Seed{big(1)}, 10); err == nil || Refused(err) {
		t.Errorf("Ingest into a read-only database: %v", err)
	}
}

func TestOpenWhatIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmend.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Open(t.Context(), "/proc/nowhere/kmend.db"); err == nil {
		t.Error("Open in a directory that cannot be made")
	}
}

// The pragmas that durability hangs on hold on every handle.
func TestPragmas(t *testing.T) {
	s := openTest(t)
	db, err := s.DB()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for name, q := range map[string]interface {
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}{"writer": s.write.conn, "workflow engine": db, "readers": s.readers} {
		var mode string
		var sync, keys int
		err := errors.Join(q.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode),
			q.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&sync), q.QueryRowContext(t.Context(), "PRAGMA foreign_keys").Scan(&keys))
		if err != nil || mode != "wal" || sync != 2 || keys != 1 {
			t.Errorf("%s: journal_mode %s, synchronous %d (2 is FULL), foreign_keys %d, %v", name, mode, sync, keys, err)
		}
	}
}

// What one call brings along may be impossible to encode, or make it panic: that
// call has an error, and the writer goes on.
func TestOneBadCall(t *testing.T) { testOneBadCall(t, openTest) }

func testOneBadCall(t *testing.T, empty opener) {
	s := empty(t)
	bad := big(1)
	bad.Alerts[0].StartsAt = noon.In(time.FixedZone("", 24*60*60)) // MarshalJSON refuses it
	if _, err := s.Ingest(t.Context(), []Seed{bad}, 10); err == nil || Refused(err) {
		t.Errorf("Ingest of a time that has no JSON: %v", err)
	}
	ingest(t, s, big(1))
	bad.Alerts = append(bad.Alerts, alert("2", incident.Firing, noon))
	if _, err := s.Ingest(t.Context(), []Seed{bad}, 10); err == nil {
		t.Error("an update with a time that has no JSON was taken")
	}
	err := s.write.do(t.Context(), func(context.Context, *sql.Conn) error { panic("oops") })
	if err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("a write that panics: %v", err)
	}
	ingest(t, s, big(2))
}
