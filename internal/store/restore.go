package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmend/kmend/incident"
)

// Restored is what a restore did.
type Restored struct {
	Interrupted int    // open incidents that were ended
	Aside       string // where the record of before is; empty: there was none
}

// Restore puts a backup in the place of the SQLite database at path, which nobody may
// serve. One that is there is ErrExists without force, and with it is moved aside. The
// incidents that were open when the backup was made are ended as interrupted and kmend
// is paused: what was done since then is not in the record. Wherever it is broken
// off, the record is the old one or the new one, whole.
func Restore(ctx context.Context, file, path string, force bool) (done Restored, err error) {
	r := restore{file: file, path: path, part: path + ".restoring", force: force, now: time.Now()}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return done, fmt.Errorf("restoring: %w", err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return done, fmt.Errorf("restoring to %s: %w; stop kmend serve first", path, err)
	}
	defer func() { err = errors.Join(err, unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close()) }()
	for _, step := range r.steps() {
		if err := step(ctx); err != nil {
			return done, fmt.Errorf("restoring %s: %w", file, err)
		}
	}
	return r.done, nil
}

// restore is one on its way.
type restore struct {
	file, path, part string
	force            bool
	now              time.Time
	done             Restored
}

// steps are in an order in which any may be the last one before a crash.
func (r *restore) steps() []func(context.Context) error {
	return []func(context.Context) error{r.check, r.prepare, r.settle, r.keep, r.replace}
}

// check looks at the backup, and whether it may take the place of what is there.
func (r *restore) check(ctx context.Context) error {
	if _, err := whole(ctx, r.file); err != nil {
		return err
	}
	info, err := os.Stat(r.path)
	if err == nil && info.Size() > 0 {
		r.done.Aside = r.path + ".before-" + r.now.UTC().Format("20060102-150405")
		if !r.force {
			return fmt.Errorf("the record %s: %w; --force moves it aside", r.path, ErrExists)
		}
		if _, err := os.Lstat(r.done.Aside); err == nil {
			return fmt.Errorf("%s: %w", r.done.Aside, ErrExists)
		}
	}
	return nil
}

// prepare makes the new record beside the old one.
func (r *restore) prepare(ctx context.Context) (err error) {
	for _, left := range []string{"-wal", "-shm"} { // by one that was broken off
		if err := os.Remove(r.part + left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	backup, err := still(r.file)
	if err != nil {
		return err
	}
	defer backup.Close()
	if err := copyDatabase(ctx, backup, r.part); err != nil {
		return err
	}
	db, err := connect(r.part, busyTimeout, "_txlock=immediate")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if err = migrate(ctx, db, sqliteDialect()); err == nil {
		r.done.Interrupted, err = interruptOpen(ctx, db, r.now)
	}
	return errors.Join(err, db.Close()) // the last connection takes its log with it
}

// settle brings what is in the old record's log into the old record, so that one file
// is all of it. One that is too broken for that is kept with its log.
func (r *restore) settle(ctx context.Context) error {
	if r.done.Aside == "" {
		return nil
	}
	if db, err := connect(r.path, busyTimeout, "_txlock=immediate"); err == nil {
		_, _ = db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
		_ = db.Close()
	}
	for _, log := range []string{"-wal", "-shm"} { // still there: it is broken
		if err := os.Rename(r.path+log, r.done.Aside+log); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// keep gives the old record a second name.
func (r *restore) keep(context.Context) error {
	if r.done.Aside == "" {
		return nil
	}
	if err := os.Link(r.path, r.done.Aside); err != nil {
		return err
	}
	return syncDir(filepath.Dir(r.path))
}

// replace gives the new record its name, in one step.
func (r *restore) replace(context.Context) error {
	if err := os.Rename(r.part, r.path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(r.path))
}

// interruptOpen ends all open incidents and pauses kmend, in one transaction.
func interruptOpen(ctx context.Context, db *sql.DB, now time.Time) (n int, err error) {
	const why = "the record was restored from a backup: what was done after it is not known, and nothing is repeated; look at the target"
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	ids, err := column(ctx, tx, `SELECT id FROM incidents WHERE closed_at IS NULL ORDER BY id`)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		for _, do := range []struct {
			query string
			args  []any
		}{
			{`UPDATE incidents SET phase = ?, outcome = ?, reason = ?, closed_at = ? WHERE id = ?`, []any{incident.Escalated, incident.Interrupted, why, now.UnixNano(), id}},
			{`INSERT INTO timeline (incident, seq, key, at, phase, kind, message)
				VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM timeline WHERE incident = ?1), ?2, ?3, ?4, ?5, ?6) ON CONFLICT (incident, key) DO NOTHING`,
				[]any{id, KeyClosed, now.UnixNano(), incident.Escalated, KindClosed, string(incident.Interrupted) + ": " + why}},
			{`DELETE FROM claims WHERE incident = ?`, []any{id}},
		} {
			if _, err := tx.ExecContext(ctx, do.query, do.args...); err != nil {
				return 0, err
			}
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO pause (id, by, reason, at) VALUES (1, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		"kmend restore", "the record was restored from a backup: the guards do not know what was done after it", now.UnixNano())
	if err != nil {
		return 0, err
	}
	return len(ids), tx.Commit()
}

// Restored ends all open incidents of a PostgreSQL database that was restored by its own
// tools, and pauses kmend, as Restore does. With a replica that is up it is ErrInUse.
func (s *Store) Restored(ctx context.Context) (n int, err error) {
	if err := s.nobody(ctx); err != nil {
		return 0, err
	}
	for _, r := range []string{`DELETE FROM replicas`, `UPDATE incidents SET owner = ''`} {
		if _, err := s.writers.ExecContext(ctx, r); err != nil {
			return 0, fmt.Errorf("ending what was open: %w", err)
		}
	}
	if n, err = interruptOpen(ctx, s.writers, time.Now()); err != nil {
		return 0, fmt.Errorf("ending what was open: %w", err)
	}
	return n, nil
}

// nobody checks that no replica has its lock.
func (s *Store) nobody(ctx context.Context) error {
	peers, err := peersOf(ctx, s.readers, `SELECT id, token, beat, beats, gone FROM replicas`)
	if err != nil {
		return fmt.Errorf("reading who is up: %w", err)
	}
	c, err := s.writers.Conn(ctx)
	if err != nil {
		return fmt.Errorf("reading who is up: %w", err)
	}
	defer discard(c) // and with it the locks
	for _, p := range peers {
		locked, err := tryLock(ctx, c, "executor/"+p.Executor)
		if err != nil {
			return fmt.Errorf("reading who is up: %w", err)
		}
		if !locked {
			return fmt.Errorf("replica %s: %w; stop it first", p.Executor, ErrInUse)
		}
	}
	return nil
}
