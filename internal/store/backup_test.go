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

	"github.com/kmend/kmend/incident"
)

// backedUp is a backup of a record with one open incident, which has a claim, and a closed one.
func backedUp(t *testing.T) (file, open, closed string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(t.Context(), filepath.Join(dir, "kmend.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	open = ingest(t, s, seed(alert("f1", incident.Firing, noon))).ID
	record(t, s, open, "diagnosing", Change{To: incident.Diagnosing, Event: incident.Event{Kind: "measuring"}})
	if _, err := s.Claim(t.Context(), open, []string{"thing"}); err != nil {
		t.Fatal(err)
	}
	other := seed(alert("f2", incident.Firing, noon))
	other.DedupKey = "other"
	closed = ingest(t, s, other).ID
	record(t, s, closed, KeyClosed, Change{To: incident.Escalated, Outcome: incident.NoTarget, Reason: "nothing", Event: incident.Event{Kind: KindClosed}})
	file = filepath.Join(dir, "backup")
	if err := Backup(t.Context(), s.path, file); err != nil {
		t.Fatal(err)
	}
	return file, open, closed
}

// A backup is one moment of a record that is being written, complete and private.
func TestBackupOfWhatIsServed(t *testing.T) {
	s := openTest(t)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			x := seed(alert(fmt.Sprint(n), incident.Firing, noon))
			x.DedupKey = fmt.Sprint(n)
			if _, err := s.Ingest(t.Context(), []Seed{x}, 1<<20); err != nil {
				t.Error(err)
				break
			}
		}
		written <- n
	}()
	for open := 0; open < 3; time.Sleep(time.Millisecond) {
		in, err := s.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		open = in.Open
	}
	file := filepath.Join(t.TempDir(), "backup")
	if err := Backup(t.Context(), s.path, file); err != nil {
		t.Fatal(err)
	}
	stop()
	n := <-written
	in, err := whole(t.Context(), file)
	if err != nil || in.Open < 3 || in.Open > n {
		t.Errorf("%+v of %d, %v", in, n, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := Backup(t.Context(), s.path, file); !errors.Is(err, ErrExists) {
		t.Errorf("over a file: %v", err)
	}
	if err := Backup(t.Context(), filepath.Join(t.TempDir(), "none"), file+"2"); err == nil {
		t.Error("of nothing")
	}
	left, err := filepath.Glob(file + "*")
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// What was open is ended and nothing is done until a person says so; the rest is as it was.
func TestRestore(t *testing.T) {
	file, open, closed := backedUp(t)
	path := filepath.Join(t.TempDir(), "new", "kmend.db")
	done, err := Restore(t.Context(), file, path, false)
	if err != nil || done != (Restored{Interrupted: 1}) {
		t.Fatalf("%+v, %v", done, err)
	}
	s := openAtPath(t, path)
	p := get(t, s, open)
	if p.Phase != incident.Escalated || p.Outcome != incident.Interrupted || p.ClosedAt.IsZero() || !strings.Contains(p.Reason, "restored from a backup") {
		t.Errorf("%s %s: %s", p.Phase, p.Outcome, p.Reason)
	}
	if last := p.Timeline[len(p.Timeline)-1]; last.Kind != KindClosed || !strings.HasPrefix(last.Message, "interrupted: ") {
		t.Errorf("%+v", last)
	}
	if p := get(t, s, closed); p.Outcome != incident.NoTarget || p.Reason != "nothing" {
		t.Errorf("%s: %s", p.Outcome, p.Reason)
	}
	if pause, paused, err := s.Paused(t.Context()); err != nil || !paused || pause.By != "kmend restore" {
		t.Errorf("paused: %v %+v, %v", paused, pause, err)
	}
	if _, err := Restore(t.Context(), file, path, true); !errors.Is(err, ErrInUse) {
		t.Errorf("while it is served: %v", err)
	}
	later := seed(alert("f3", incident.Firing, noon))
	later.DedupKey = "later"
	id := ingest(t, s, later).ID
	record(t, s, id, "diagnosing", Change{To: incident.Diagnosing, Event: incident.Event{Kind: "measuring"}})
	if holder, err := s.Claim(t.Context(), id, []string{"thing"}); holder != "" || err != nil {
		t.Errorf("the claim is held by %q, %v", holder, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err := Restore(t.Context(), file, path, false); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("over a record: %v", err)
	}
	if done, err = Restore(t.Context(), file, path, true); err != nil || done.Aside == "" {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := openAtPath(t, path).Get(t.Context(), id); !errors.Is(err, ErrNotFound) {
		t.Errorf("what came after the backup: %v", err)
	}
	if _, err := openAtPath(t, done.Aside).Get(t.Context(), id); err != nil {
		t.Errorf("the record that was moved aside: %v", err)
	}
}

func openAtPath(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// What is no backup changes nothing, and neither does one of a newer kmend.
func TestRestoreRefuses(t *testing.T) {
	file, _, _ := backedUp(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := append([]byte(nil), text...)
	for i := 4096 * 4; i < len(broken)-4096; i += 512 {
		broken[i] ^= 0xff
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"empty": {nil, "no database of kmend's"}, "text": {[]byte(strings.Repeat("hello ", 2000)), "no database"},
		"cut": {text[:len(text)/2], "broken"}, "flipped": {broken, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			bad, path := filepath.Join(dir, name), filepath.Join(t.TempDir(), "kmend.db")
			if err := os.WriteFile(bad, c.text, 0o400); err != nil {
				t.Fatal(err)
			}
			if _, err := Restore(t.Context(), bad, path, true); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("there is a record")
			}
		})
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) SELECT 9999, is_applied FROM goose_db_version WHERE version_id = 1`); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), file, filepath.Join(dir, "kmend.db"), true); err == nil || !strings.Contains(err.Error(), "restore it with the kmend that wrote it") {
		t.Errorf("a newer schema: %v", err)
	}
}

// Broken off after any step, the record is the old one or the new one, whole, and the
// restore can be done again.
func TestRestoreBrokenOff(t *testing.T) {
	file, backed, _ := backedUp(t)
	for n := range 6 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "kmend.db")
			s, err := Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			old := ingest(t, s, seed(alert("old", incident.Firing, noon))).ID
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			r := restore{file: file, path: path, part: path + ".restoring", force: true, now: noon}
			if len(r.steps()) != 5 {
				t.Fatalf("%d steps", len(r.steps()))
			}
			for _, step := range r.steps()[:min(n, 5)] {
				if err := step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s = openAtPath(t, path)
			_, hasOld := s.Get(t.Context(), old)
			_, hasNew := s.Get(t.Context(), backed)
			if (hasOld == nil) == (hasNew == nil) || n == 5 != (hasNew == nil) {
				t.Errorf("after %d steps: old %v, new %v", n, hasOld, hasNew)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := Restore(t.Context(), file, path, true); err != nil {
				t.Fatal(err)
			}
			if _, err := openAtPath(t, path).Get(t.Context(), backed); err != nil {
				t.Error(err)
			}
		})
	}
}
