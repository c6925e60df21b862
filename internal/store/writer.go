package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxBatch bounds how many calls share one transaction, and with it how long
// the other connections wait for theirs.
const maxBatch = 128

// tries is how often a transaction is run that the database gave up for the sake
// of another.
const tries = 3

// writer is the one goroutine of this process that writes. The calls that arrive
// while it commits go into its next transaction together: one fsync, and with
// replicas one turn, for all of them.
type writer struct {
	db   *sql.DB
	conn *sql.Conn // nil after trouble with a server, until the next transaction
	d    dialect
	ctx  context.Context
	ops  chan op
	quit chan struct{}
	once sync.Once
	done chan struct{}
}

// op is one call's part of a transaction: all of it or, after an error, nothing.
type op struct {
	do     func(ctx context.Context, c *sql.Conn) error
	answer chan error
}

func newWriter(ctx context.Context, db *sql.DB, d dialect) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, conn: conn, d: d, ctx: ctx, ops: make(chan op), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w, nil
}

// do runs f in a transaction and returns when that is on disk. It may run f
// more than once; f must set its results anew each time. ctx counts until f's turn comes.
func (w *writer) do(ctx context.Context, f func(ctx context.Context, c *sql.Conn) error) error {
	o := op{do: f, answer: make(chan error, 1)}
	select {
	case w.ops <- o:
		return <-o.answer // bounded by busyTimeout; leaving earlier would race with f
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.quit:
		return ErrStopped
	}
}

func (w *writer) stop() error {
	w.once.Do(func() { close(w.quit) })
	<-w.done
	if w.conn == nil {
		return nil
	}
	return w.conn.Close()
}

func (w *writer) run() {
	defer close(w.done)
	for {
		select {
		case first := <-w.ops:
			w.commit(w.gather(first))
		case <-w.quit:
			return
		}
	}
}

// gather takes every call that waits, without waiting for more.
func (w *writer) gather(first op) []op {
	batch := []op{first}
	for len(batch) < maxBatch {
		select {
		case o := <-w.ops:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// commit answers every call of the batch.
func (w *writer) commit(batch []op) {
	answers, err := w.together(batch)
	for n := 1; err != nil && n < tries && again(err); n++ {
		answers, err = w.together(batch)
	}
	if err != nil && len(batch) > 1 && w.conn != nil {
		// One call's trouble must not fail its neighbours: each on its own. Not so
		// when the server is gone: each would wait for it.
		for _, o := range batch {
			w.commit([]op{o})
		}
		return
	}
	for i, o := range batch {
		if err != nil {
			o.answer <- err
			continue
		}
		o.answer <- answers[i]
	}
}

// again reports whether a transaction that certainly was not committed is to be run
// again: PostgreSQL ended it for the sake of another (serialization_failure,
// deadlock_detected), or the connection had broken before it was used.
func again(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01") || errors.Is(err, driver.ErrBadConn)
}

// together runs the batch in one transaction. answers are the refusals of
// single calls; err means that the batch is not known to be committed.
func (w *writer) together(batch []op) (answers []error, err error) {
	ctx := w.ctx
	if w.d.shared { // a server may hang; a file does not
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, busyTimeout, fmt.Errorf("the database does not answer within %s", busyTimeout))
		defer cancel()
	}
	if w.conn == nil {
		if w.conn, err = w.db.Conn(ctx); err != nil {
			return nil, fmt.Errorf("connecting: %w", err)
		}
	}
	if err := w.exec(ctx, w.d.begin); err != nil {
		return nil, errors.Join(fmt.Errorf("beginning a transaction: %w", err), w.rollback(ctx))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.rollback(ctx))
		}
	}()
	answers = make([]error, len(batch))
	for i, o := range batch {
		if answers[i], err = w.one(ctx, o); err != nil {
			return nil, err
		}
	}
	if err := w.exec(ctx, "COMMIT"); err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	return answers, nil
}

// rollback ends a transaction that went wrong. SQLite has ended it by itself after
// some errors; then this one's error says nothing. A server whose answer to this is
// an error gets a new connection. The error it returns is nil, or ctx's cause.
func (w *writer) rollback(ctx context.Context) error {
	err := w.exec(ctx, "ROLLBACK")
	if err == nil || !w.d.shared {
		return nil
	}
	discard(w.conn)
	w.conn = nil
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// one runs a call in a savepoint of its own.
func (w *writer) one(ctx context.Context, o op) (refusal, err error) {
	if err := w.exec(ctx, "SAVEPOINT op"); err != nil {
		return nil, err
	}
	err = w.guarded(ctx, o)
	if err == nil {
		return nil, w.exec(ctx, "RELEASE op")
	}
	if !Refused(err) {
		return nil, err
	}
	return err, w.exec(ctx, "ROLLBACK TO op; RELEASE op")
}

// guarded makes a panic of one call its error: the one writer has to go on.
func (w *writer) guarded(ctx context.Context, o op) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a write panicked: %v", v)
		}
	}()
	return o.do(ctx, w.conn)
}

func (w *writer) exec(ctx context.Context, sql string) error {
	_, err := w.conn.ExecContext(ctx, sql)
	return err
}
