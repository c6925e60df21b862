package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
)

// Inspection is what can be seen of a database without changing it.
type Inspection struct {
	Schema, Known int64     // version of its schema, and the newest that this kmend knows
	Bytes         int64     // that it takes
	Open          int       // incidents
	Received      time.Time // when the newest incident was received; zero: there is none
	Clock         time.Time // the time by its server's clock; zero: SQLite
}

// ErrNoDatabase: there is no database yet, or nothing in it.
var ErrNoDatabase = errors.New("there is no database yet; kmend serve makes it")

// Inspect looks at this database.
func (s *Store) Inspect(ctx context.Context) (Inspection, error) { return inspect(ctx, s.readers, s.d) }

// InspectFile looks at the SQLite file at path, which a kmend may be serving, and
// changes nothing: not its schema either.
func InspectFile(ctx context.Context, path string) (Inspection, error) {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return Inspection{}, ErrNoDatabase
	}
	db, err := connect(path, busyTimeout, "_pragma=query_only(ON)")
	if err != nil {
		return Inspection{}, fmt.Errorf("opening database %s: %w", path, err)
	}
	defer db.Close()
	return inspect(ctx, db, sqliteDialect())
}

// InspectPostgres looks at the PostgreSQL database at address. Its errors do not
// repeat the password.
func InspectPostgres(ctx context.Context, address string) (Inspection, error) {
	c, err := PostgresConfig(address)
	if err != nil {
		return Inspection{}, err
	}
	db := stdlib.OpenDB(*c)
	defer db.Close()
	i, err := inspect(ctx, db, postgresDialect())
	if err != nil {
		return i, fmt.Errorf("asking database %s: %w", place(c), err)
	}
	return i, nil
}

func inspect(ctx context.Context, db *sql.DB, d dialect) (i Inspection, err error) {
	if i.Known, err = newest(); err != nil {
		return i, err
	}
	size := `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`
	tables := `SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'`
	if d.shared {
		size = `SELECT pg_database_size(current_database())`
		tables = `SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('goose_db_version')`
		if err := db.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&i.Clock); err != nil {
			return i, err
		}
	}
	var made int
	if err := db.QueryRowContext(ctx, tables).Scan(&made); err != nil {
		return i, err
	}
	if made == 0 {
		return i, ErrNoDatabase
	}
	if err := db.QueryRowContext(ctx, size).Scan(&i.Bytes); err != nil {
		return i, err
	}
	if err := db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version`).Scan(&i.Schema); err != nil {
		return i, err
	}
	var last sql.NullInt64
	err = db.QueryRowContext(ctx, `SELECT count(*) - count(closed_at), max(received_at) FROM incidents`).Scan(&i.Open, &last)
	if last.Valid {
		i.Received = at(last.Int64)
	}
	return i, err
}
