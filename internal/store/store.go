// Package store keeps incidents in one SQLite file, or in PostgreSQL where several
// replicas of kmend share them: what was received, every transition before it is
// acted on, what was done. It stands behind every stage of the flow: the webhook's
// 2xx means that Ingest committed, and the workflow (internal/respond) goes on
// after a crash from what it finds here.
//
// A write has reached the disk (fsync) when its call returns. Writes that come
// at the same time share one transaction. docs/durability.md says how replicas
// are kept from doing one thing twice.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// Refusals: the store is well and says no. Every other error is storage trouble
// (disk full, read-only, locked) and may pass.
var (
	ErrNotFound    = errors.New("no such incident")
	ErrClosed      = errors.New("incident is closed")
	ErrFull        = errors.New("too many incidents are open")
	ErrPhase       = errors.New("transition not allowed")
	ErrNotAwaiting = errors.New("incident does not wait for an approval")
	ErrPlanChanged = errors.New("the approval is for another plan than the one that waits")
	ErrAnswered    = errors.New("the approval was answered already")
	ErrSamePerson  = errors.New("this person has approved already; another one has to")
	ErrNotApprover = errors.New("not one of those who may answer for this plan")
	ErrNotAllowed  = errors.New("the plan is not allowed now")
	ErrExpired     = errors.New("the time for an approval is over")
	ErrTests       = errors.New("as many test alerts are open as may be; wait for the end of one")
	// ErrTest: the incident is of a test alert, and what would be recorded acts.
	ErrTest    = errors.New("a test alert never changes anything")
	ErrInUse   = errors.New("database is in use by another process")
	ErrStopped = errors.New("store is closed")
	// ErrLost: another replica has taken the incident over, or this one was taken for
	// dead. It must not act on it.
	ErrLost = errors.New("the incident is not this replica's")
)

// Refused reports whether err is the store's answer and no storage trouble:
// trying again gives the same.
func Refused(err error) bool {
	for _, r := range []error{ErrNotFound, ErrClosed, ErrFull, ErrPhase, ErrNotAwaiting, ErrPlanChanged, ErrAnswered, ErrSamePerson, ErrNotApprover, ErrNotAllowed, ErrExpired, ErrTests, ErrTest, ErrLost} {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}

// busyTimeout is how long a statement waits for another connection's
// transaction; a write that waited longer is an error.
const busyTimeout = 5 * time.Second

// Store is the open database. Its methods may be called concurrently.
type Store struct {
	write   *writer
	writers *sql.DB // one connection, held by write
	readers *sql.DB
	lock    *os.File // SQLite: keeps other processes away
	path    string   // what errors call the database
	busy    time.Duration
	alone   chan struct{} // full while somebody is Alone
	close   sync.Once

	d        dialect
	postgres *pgx.ConnConfig // nil: SQLite
	lease    lease
}

// Open opens the database file at path, creating it and its directory (mode
// 0700) where they are missing, and migrates it. One process at a time: a
// second Open is ErrInUse. ctx bounds the opening and lends its values, not its
// cancellation, to the writes.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path, busyTimeout)
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, busy time.Duration) (_ *Store, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	s := &Store{path: path, busy: busy, d: sqliteDialect(), alone: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, err
	}
	// SQLite would make it readable for everybody; its log takes its mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if s.writers, err = connect(path, busy, "_txlock=immediate"); err != nil {
		return nil, err
	}
	s.writers.SetMaxOpenConns(1)
	if err := migrate(ctx, s.writers, s.d); err != nil {
		return nil, fmt.Errorf("migrating: %w", err)
	}
	if s.readers, err = connect(path, busy, "_pragma=query_only(ON)"); err != nil {
		return nil, err
	}
	s.readers.SetMaxOpenConns(4)
	s.write, err = newWriter(context.WithoutCancel(ctx), s.writers, s.d)
	return s, err
}

// Check reports whether the database answers.
func (s *Store) Check(ctx context.Context) error {
	if err := s.readers.PingContext(ctx); err != nil {
		return fmt.Errorf("asking database %s: %w", s.path, err)
	}
	return nil
}

// DB is a new handle on the same SQLite file for the workflow engine, which closes
// it when it is shut down: WAL, synchronous=FULL, foreign keys, and immediate
// transactions, because the engine reads before it writes and SQLite would answer
// BUSY to that without waiting.
func (s *Store) DB() (*sql.DB, error) {
	db, err := connect(s.path, s.busy, "_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("opening database %s for the workflow engine: %w", s.path, err)
	}
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return db, nil
}

// Close waits for the writes that run and closes the file.
func (s *Store) Close() error {
	var errs []error
	s.close.Do(func() {
		if s.write != nil {
			errs = append(errs, s.write.stop())
		}
		s.lease.drop()
		for _, db := range []*sql.DB{s.readers, s.writers} {
			if db != nil {
				errs = append(errs, db.Close())
			}
		}
		if s.lock != nil {
			// A process that is being forked right now has the file too, and with it
			// the lock, until it is executed: closing would not give it back.
			errs = append(errs, unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close())
		}
	})
	return errors.Join(errs...)
}

// lockFile takes the lock that keeps a second process away; the kernel gives it
// back when this one ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}
