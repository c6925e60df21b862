package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // database/sql driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// connect opens a pool whose every connection has the pragmas; extra is more of
// the driver's query parameters.
func connect(path string, busy time.Duration, extra string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	dsn.RawQuery = fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)&%s",
		busy.Milliseconds(), extra)
	return sql.Open("sqlite", dsn.String())
}

// migrate brings the schema to the newest version.
func migrate(ctx context.Context, db *sql.DB, d dialect) error {
	p, err := d.migrator(db)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}
