package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sys/unix"
)

// OpenPostgres opens the PostgreSQL database (14 or newer) at address, a URL such
// as postgres://kmend:SECRET@db/kmend?sslmode=verify-full, and migrates it.
// Several processes may have it open; each calls Join before it acts. Errors name
// the server and never the password. ctx counts as for Open.
func OpenPostgres(ctx context.Context, address string) (*Store, error) {
	config, err := PostgresConfig(address)
	if err != nil {
		return nil, err
	}
	s := &Store{path: place(config), busy: busyTimeout, d: postgresDialect(), postgres: config, alone: make(chan struct{}, 1)}
	if err := s.openPostgres(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening database %s: %w", s.path, err), s.Close())
	}
	return s, nil
}

// PostgresConfig reads the URL of a PostgreSQL database. Its errors do not repeat it.
func PostgresConfig(address string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("the database is no URL of PostgreSQL; want postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	c, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("the database's URL has a parameter that is not understood; want postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full")
	}
	c.ConnectTimeout = min(max(c.ConnectTimeout, 0), busyTimeout)
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = busyTimeout
	}
	c.DialFunc = dial
	c.RuntimeParams["application_name"] = "kmend"
	// Who vanished in the middle of a transaction must not keep the others from writing.
	c.RuntimeParams["idle_in_transaction_session_timeout"] = fmt.Sprint(busyTimeout.Milliseconds())
	return c, nil
}

// dial connects, and gives a connection up whose other end has gone without a word.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	d.Control = func(network, _ string, c syscall.RawConn) (err error) {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((2 * busyTimeout).Milliseconds()))
		})
		return errors.Join(failed, err)
	}
	return d.DialContext(ctx, network, address)
}

// place names a database without who opens it and how.
func place(c *pgx.ConnConfig) string { return fmt.Sprintf("%s on %s", c.Database, c.Host) }

func (s *Store) openPostgres(ctx context.Context) error {
	plain := stdlib.OpenDB(*s.postgres)
	defer plain.Close()
	err := exclusively(ctx, plain, "migrate", func(ctx context.Context) error { return migrate(ctx, plain, s.d) })
	if err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	connector := portable{stdlib.GetConnector(*s.postgres, stdlib.OptionAfterConnect(durable))}
	s.writers, s.readers = sql.OpenDB(connector), sql.OpenDB(connector)
	s.writers.SetMaxOpenConns(4) // the writer, the lease, and who is Alone
	s.readers.SetMaxOpenConns(8)
	s.readers.SetMaxIdleConns(4)
	s.write, err = newWriter(context.WithoutCancel(ctx), s.writers, s.d)
	return err
}

// durable makes a commit mean the disk where the server was told otherwise.
func durable(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

// Pool is a new pool of connections for the workflow engine, which closes it
// when it is shut down; nil where the database is SQLite.
func (s *Store) Pool(ctx context.Context) (*pgxpool.Pool, error) {
	if s.postgres == nil {
		return nil, nil
	}
	c, err := pgxpool.ParseConfig(s.postgres.ConnString())
	if err != nil {
		return nil, errors.New("the database's URL is not understood by the workflow engine")
	}
	c.ConnConfig, c.MaxConns, c.AfterConnect = s.postgres.Copy(), 8, durable
	return pgxpool.NewWithConfig(ctx, c)
}

// Exclusive runs f while no other process on the same database runs one.
func (s *Store) Exclusive(ctx context.Context, f func(context.Context) error) error {
	if !s.d.shared {
		return f(ctx)
	}
	return exclusively(ctx, s.writers, "migrate", f)
}

// exclusively runs f under a lock that ends with its connection.
func exclusively(ctx context.Context, db *sql.DB, name string, f func(context.Context) error) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		locked, err := tryLock(ctx, c, name)
		if err != nil {
			return err
		}
		if locked {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	err = f(ctx)
	return errors.Join(err, unlock(context.WithoutCancel(ctx), c, name))
}

// lockKey is an advisory lock's number.
func lockKey(name string) int64 {
	sum := sha256.Sum256([]byte("kmend/" + name))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
}

func tryLock(ctx context.Context, c *sql.Conn, name string) (locked bool, err error) {
	err = c.QueryRowContext(ctx, fmt.Sprintf(`SELECT pg_try_advisory_lock(%d)`, lockKey(name))).Scan(&locked)
	return locked, err
}

func unlock(ctx context.Context, c *sql.Conn, name string) error {
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	_, err := c.ExecContext(ctx, fmt.Sprintf(`SELECT pg_advisory_unlock(%d)`, lockKey(name)))
	return err
}

// portable connects to PostgreSQL for statements that are written for SQLite.
type portable struct{ driver.Connector }

func (p portable) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return translator{c.(*stdlib.Conn)}, nil
}

// translator is a connection that numbers the placeholders.
type translator struct{ *stdlib.Conn }

func (t translator) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) > 0 {
		query = numbered(query)
	}
	return t.Conn.ExecContext(ctx, query, args)
}

func (t translator) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if len(args) > 0 {
		query = numbered(query)
	}
	return t.Conn.QueryContext(ctx, query, args)
}

// CheckNamedValue makes a value what the columns are: truths are 0 and 1, and
// texts are without the zero byte, which a sender may send and PostgreSQL refuses.
func (t translator) CheckNamedValue(v *driver.NamedValue) (err error) {
	if v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value); err != nil {
		return err
	}
	switch x := v.Value.(type) {
	case bool:
		v.Value = int64(0)
		if x {
			v.Value = int64(1)
		}
	case string:
		v.Value = strings.ToValidUTF8(strings.ReplaceAll(x, "\x00", "\uFFFD"), "\uFFFD")
	}
	return nil
}
