package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// lease is what this process holds as a replica. The zero value is of a process
// that did not join: it reads, takes deliveries and answers, and owns nothing.
type lease struct {
	mu    sync.Mutex // of joining, each beat and leaving
	id    string     // executor
	token string     // of this life of it; never used again
	conn  *sql.Conn  // PostgreSQL: has the executor's lock; nil after trouble

	fields sync.RWMutex // of id and token, for the writes
}

func (l *lease) own() (id, token string) {
	l.fields.RLock()
	defer l.fields.RUnlock()
	return l.id, l.token
}

func (l *lease) set(id, token string) {
	l.fields.Lock()
	defer l.fields.Unlock()
	l.id, l.token = id, token
}

// held is the connection that has the lock, nil when there is none.
func (l *lease) held() *sql.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// drop closes the connection, which gives the lock back.
func (l *lease) drop() {
	if l.conn == nil {
		return
	}
	discard(l.conn)
	l.conn = nil
}

// joinPatience is how long Join waits for the lock of an executor whose process
// has ended and whose connection is not known to be.
const joinPatience = 20 * time.Second

// Join makes this process the replica named executor, with a new life: incidents
// that an earlier life of it owned have no owner then. From here on it changes
// only incidents that it owns. Where another process is that executor, ErrInUse.
func (s *Store) Join(ctx context.Context, executor string) error {
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("joining as replica %s: %w", executor, err)
	}
	token := executor + "/" + hex.EncodeToString(random[:])
	if err := s.lockExecutor(ctx, executor, joinPatience); err != nil {
		return fmt.Errorf("joining as replica %s: %w", executor, err)
	}
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		// Of a file nobody else can be at work: whoever is written down is this
		// process' past, by whatever name.
		rows, err := peersOf(ctx, c, `SELECT id, token, beat, beats, gone FROM replicas WHERE id = ? OR ? = 0`, executor, s.d.shared)
		if err != nil {
			return err
		}
		for _, p := range rows {
			if err := release(ctx, c, p); err != nil {
				return err
			}
		}
		now := time.Now().UnixNano()
		_, err = c.ExecContext(ctx, `INSERT INTO replicas (id, token, since, beat) VALUES (?, ?, ?, ?)`, executor, token, now, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("joining as replica %s: %w", executor, err)
	}
	s.lease.set(executor, token)
	return nil
}

// lockExecutor takes the executor's lock on the lease's connection.
func (s *Store) lockExecutor(ctx context.Context, executor string, patience time.Duration) (err error) {
	if !s.d.shared {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience+busyTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			s.lease.drop()
		}
	}()
	if s.lease.conn, err = s.writers.Conn(ctx); err != nil {
		return err
	}
	if err := mortal(ctx, s.lease.conn); err != nil {
		return err
	}
	for until := time.Now().Add(patience); ; {
		locked, err := tryLock(ctx, s.lease.conn, "executor/"+executor)
		switch {
		case err != nil:
			return err
		case locked:
			return nil
		case time.Now().After(until):
			return ErrInUse
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Beat commits that this replica is up, and makes sure that it still has its lock.
// ErrLost: it was taken for dead, and another one has its incidents.
func (s *Store) Beat(ctx context.Context) error {
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	id, token := s.lease.own()
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	err := s.beat(ctx, id, token)
	if err != nil && !errors.Is(err, ErrLost) {
		s.lease.drop()
	}
	if err != nil {
		return fmt.Errorf("renewing the lease of replica %s: %w", id, err)
	}
	return nil
}

func (s *Store) beat(ctx context.Context, id, token string) error {
	const renew = `UPDATE replicas SET beat = ?, beats = beats + 1 WHERE id = ? AND token = ?`
	var known bool
	if !s.d.shared {
		return s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
			r, err := c.ExecContext(ctx, renew, time.Now().UnixNano(), id, token)
			return changed(r, err)
		})
	}
	if s.lease.conn == nil {
		if err := s.lockExecutor(ctx, id, 0); err != nil {
			// Whether it was taken over meanwhile, the table says.
			row := s.writers.QueryRowContext(ctx, `SELECT count(*) > 0 FROM replicas WHERE id = ? AND token = ?`, id, token)
			if asked := row.Scan(&known); asked == nil && !known {
				return ErrLost
			}
			return err
		}
	}
	r, err := s.lease.conn.ExecContext(ctx, renew, time.Now().UnixNano(), id, token)
	return changed(r, err)
}

// changed is ErrLost where the replica's own row was not there.
func changed(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err == nil && n == 0 {
		return ErrLost
	}
	return err
}

// Own takes an incident for this replica; false where another one has it. After it
// every Record and Claim of the incident that returns nil was committed while it
// was still this replica's.
func (s *Store) Own(ctx context.Context, incident string) (owned bool, err error) {
	id, token := s.lease.own()
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		owned = false
		var alive bool
		if err := c.QueryRowContext(ctx, `SELECT count(*) > 0 FROM replicas WHERE id = ? AND token = ?`, id, token).Scan(&alive); err != nil {
			return err
		}
		if !alive {
			return ErrLost
		}
		var owner string
		err := c.QueryRowContext(ctx, `SELECT owner FROM incidents WHERE id = ?`, incident).Scan(&owner)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return ErrNotFound
		case err != nil:
			return err
		case owner != "" && owner != token:
			return nil
		}
		owned = true
		if owner == token {
			return nil
		}
		_, err = c.ExecContext(ctx, `UPDATE incidents SET owner = ?, owned_at = ? WHERE id = ?`, token, time.Now().UnixNano(), incident)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("taking incident %s: %w", incident, err)
	}
	return owned, nil
}

// mine refuses a write of the flow to an incident that this replica does not own.
// No other write can come between it and the commit.
func (s *Store) mine(ctx context.Context, c *sql.Conn, incident string) error {
	_, token := s.lease.own()
	if token == "" {
		return nil
	}
	var owner string
	err := c.QueryRowContext(ctx, `SELECT owner FROM incidents WHERE id = ?`, incident).Scan(&owner)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case err != nil:
		return err
	case owner != token:
		return ErrLost
	}
	return nil
}
