package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// Shared reports whether other replicas may be at work on the same database.
func (s *Store) Shared() bool { return s.d.shared }

// Replica is another process that runs incidents.
type Replica struct {
	Executor string
	token    string
	beat     int64 // when it was last heard of, by its own clock
	Beats    int64 // how often it was heard of; with another life it begins anew
	Gone     bool  // it stopped in good order
}

// Life names one life of a replica.
func (r Replica) Life() string { return r.token }

// Peers are the other replicas, and those that ended and were not taken over.
func (s *Store) Peers(ctx context.Context) (peers []Replica, err error) {
	id, _ := s.lease.own()
	err = s.read(ctx, func(tx *sql.Tx) error {
		peers, err = peersOf(ctx, tx, `SELECT id, token, beat, beats, gone FROM replicas WHERE id <> ?`, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading who else is up: %w", err)
	}
	return peers, nil
}

func peersOf(ctx context.Context, q querier, query string, args ...any) (peers []Replica, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Replica
		if err := rows.Scan(&r.Executor, &r.token, &r.beat, &r.Beats, &r.Gone); err != nil {
			return nil, err
		}
		peers = append(peers, r)
	}
	return peers, rows.Err()
}

// TakeOver takes a replica's incidents from it, as it was seen by Peers, for
// whoever owns them next, and calls resume while no other process takes it over or
// becomes that executor. false: it is alive, or somebody else was faster.
func (s *Store) TakeOver(ctx context.Context, dead Replica, resume func(context.Context) error) (taken bool, err error) {
	conn := s.lease.held()
	if conn == nil {
		return false, nil // this replica's own lease comes first
	}
	lock := "executor/" + dead.Executor
	locked, err := tryLock(ctx, conn, lock)
	if err != nil {
		return false, fmt.Errorf("taking over replica %s: %w", dead.Executor, err)
	}
	if !locked {
		return false, nil // its process is there, or another one is at it
	}
	defer func() { err = errors.Join(err, unlock(context.WithoutCancel(ctx), conn, lock)) }()
	err = s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		err := release(ctx, c, dead)
		if taken = err == nil; errors.Is(err, ErrLost) {
			return nil // it was heard of since, or is gone
		}
		return err
	})
	if err == nil && taken {
		err = resume(ctx)
	}
	if err != nil {
		return taken, fmt.Errorf("taking over replica %s: %w", dead.Executor, err)
	}
	return taken, nil
}

// release forgets a replica as it was read, and leaves its incidents to anybody.
// ErrLost: it is not as it was read.
func release(ctx context.Context, c *sql.Conn, r Replica) error {
	gone, err := c.ExecContext(ctx, `DELETE FROM replicas WHERE id = ? AND token = ? AND beats = ?`, r.Executor, r.token, r.Beats)
	if err := changed(gone, err); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, `UPDATE incidents SET owner = '', owner_seen = ? WHERE owner = ?`, r.beat, r.token)
	return err
}

// Leave gives the incidents of this replica to the others, which need not wait
// then until it is known to be dead. Nothing of it may act any more.
func (s *Store) Leave(ctx context.Context) error {
	s.lease.mu.Lock()
	defer s.lease.mu.Unlock()
	defer s.lease.drop()
	id, token := s.lease.own()
	if !s.d.shared || token == "" {
		return nil // the next start finds everything
	}
	err := s.write.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `UPDATE replicas SET beat = ?, beats = beats + 1, gone = 1 WHERE id = ? AND token = ?`, time.Now().UnixNano(), id, token)
		return err
	})
	if err != nil {
		return fmt.Errorf("leaving as replica %s: %w", id, err)
	}
	return nil
}

// Unattended returns the incidents, oldest first, that this replica owns or nobody
// does, and that are open or were closed before their flow had begun.
func (s *Store) Unattended(ctx context.Context) (ids []string, err error) {
	_, token := s.lease.own()
	err = s.read(ctx, func(tx *sql.Tx) error {
		ids, err = column(ctx, tx, `SELECT id FROM incidents WHERE closed_at IS NULL AND (owner = '' OR owner = ?)
			UNION SELECT id FROM incidents WHERE owned_at = 0 AND owner = '' ORDER BY id`, token)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing incidents that nobody else has: %w", err)
	}
	return ids, nil
}

// Told returns this replica's incidents about which a delivery or a person said
// something that their workflow waits for: they were closed lately, or answered.
func (s *Store) Told(ctx context.Context, lately time.Time) (closed, answered []string, err error) {
	_, token := s.lease.own()
	err = s.read(ctx, func(tx *sql.Tx) error {
		if closed, err = column(ctx, tx, `SELECT id FROM incidents WHERE owner = ? AND closed_at > ?`, token, lately.UnixNano()); err != nil {
			return err
		}
		answered, err = column(ctx, tx, `SELECT DISTINCT i.id FROM incidents i JOIN answers a ON a.incident = i.id WHERE i.owner = ? AND i.closed_at IS NULL`, token)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading what was said about incidents: %w", err)
	}
	return closed, answered, nil
}

// aloneAmongReplicas takes the lock of Alone on a connection of its own. The server
// ends it, and with it the lock, when its process hangs.
func (s *Store) aloneAmongReplicas(ctx context.Context) (release func(), err error) {
	if !s.d.shared {
		return func() {}, nil
	}
	c, err := s.writers.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := waitLock(ctx, c, "alone"); err != nil {
		discard(c)
		return nil, err
	}
	over, quiet := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quiet)
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Second):
				_ = c.PingContext(ctx) // what it says, nobody can do anything about
			}
		}
	}()
	return func() { close(over); <-quiet; discard(c) }, nil
}

// waitLock takes a lock on a session that ends when nothing is heard from it.
func waitLock(ctx context.Context, c *sql.Conn, name string) error {
	if err := mortal(ctx, c); err != nil {
		return err
	}
	for {
		if locked, err := tryLock(ctx, c, name); locked || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// mortal has the server end the session, and with it its locks, of a process that
// hangs or whose machine is gone.
func mortal(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, fmt.Sprintf(`SET idle_session_timeout = %d`, busyTimeout.Milliseconds()))
	return err
}

// discard closes a connection, which gives its locks back, for good.
func discard(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Close()
}
