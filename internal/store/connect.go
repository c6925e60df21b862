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

// migrate brings the schema to the newest version. One that is newer than that is an
// error: what it means for the statements of this kmend, nobody knows.
func migrate(ctx context.Context, db *sql.DB, d dialect) error {
	p, err := d.migrator(db)
	if err != nil {
		return err
	}
	has, known, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if has > known {
		return fmt.Errorf("the schema has version %d, and this kmend knows no newer one than %d: "+
			"a newer kmend wrote it; start that one, or restore the database as it was before the upgrade", has, known)
	}
	_, err = p.Up(ctx)
	return err
}
