package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// maxBatch bounds how many calls share one transaction, and with it how long
// the other connections wait for theirs.
const maxBatch = 128

// writer is the one goroutine that writes. The calls that arrive while it
// commits go into its next transaction together: one fsync for all of them.
type writer struct {
	conn *sql.Conn
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

func newWriter(ctx context.Context, db *sql.DB) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn, ctx: ctx, ops: make(chan op), quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w, nil
}

// do runs f in a transaction and returns when that is on disk. It may run f
// twice; f must set its results anew each time. ctx counts until f's turn comes.
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
	if err != nil && len(batch) > 1 {
		// One call's trouble must not fail its neighbours: each on its own.
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

// together runs the batch in one transaction. answers are the refusals of
// single calls; err means that nothing of the batch was committed.
func (w *writer) together(batch []op) (answers []error, err error) {
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	defer func() {
		if err != nil {
			// SQLite ends the transaction by itself after some errors; then this
			// one has nothing to do and its error says nothing.
			_ = w.exec("ROLLBACK")
		}
	}()
	answers = make([]error, len(batch))
	for i, o := range batch {
		if answers[i], err = w.one(o); err != nil {
			return nil, err
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	return answers, nil
}

// one runs a call in a savepoint of its own.
func (w *writer) one(o op) (refusal, err error) {
	if err := w.exec("SAVEPOINT op"); err != nil {
		return nil, err
	}
	err = w.guarded(o)
	if err == nil {
		return nil, w.exec("RELEASE op")
	}
	if !Refused(err) {
		return nil, err
	}
	return err, errors.Join(w.exec("ROLLBACK TO op"), w.exec("RELEASE op"))
}

// guarded makes a panic of one call its error: the one writer has to go on.
func (w *writer) guarded(o op) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a write panicked: %v", v)
		}
	}()
	return o.do(w.ctx, w.conn)
}

func (w *writer) exec(sql string) error {
	_, err := w.conn.ExecContext(w.ctx, sql)
	return err
}
