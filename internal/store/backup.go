package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// ErrExists: there is something where a file is to be written.
var ErrExists = errors.New("it is there already")

// Backup writes the SQLite database at path, as it is at one moment, to a new file.
// A kmend may serve it meanwhile. The copy is whole and on the disk when Backup
// returns nil, and there is no file before.
func Backup(ctx context.Context, path, file string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing %s: %w", file, errors.Join(ErrExists, err))
	}
	part := file + ".part"
	defer os.Remove(part)
	db, err := connect(path, busyTimeout, "")
	if err != nil {
		return fmt.Errorf("backing up %s: %w", path, err)
	}
	defer db.Close()
	if err := copyDatabase(ctx, db, part); err != nil {
		return fmt.Errorf("backing up %s: %w", path, err)
	}
	if _, err := whole(ctx, part); err != nil {
		return fmt.Errorf("checking the backup of %s: %w", path, err)
	}
	if err := os.Rename(part, file); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	return syncDir(filepath.Dir(file))
}

// copyDatabase writes a copy in one transaction of SQLite's own; the file is new and
// only its owner's.
func copyDatabase(ctx context.Context, from *sql.DB, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := from.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return err
	}
	return f.Sync()
}

// whole checks that a file is a database of kmend's in which nothing is broken, and of
// a schema that this kmend knows.
func whole(ctx context.Context, path string) (in Inspection, err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return in, errors.Join(errors.New("it is no database of kmend's"), err)
	}
	db, err := still(path)
	if err != nil {
		return in, err
	}
	defer db.Close()
	in, err = inspect(ctx, db, sqliteDialect())
	switch {
	case errors.Is(err, ErrNoDatabase):
		return in, errors.New("it is no database of kmend's")
	case err != nil:
		return in, fmt.Errorf("it is no database of kmend's, or a broken one: %w", err)
	case in.Schema > in.Known:
		return in, fmt.Errorf("its schema has version %d, and this kmend knows no newer one than %d: restore it with the kmend that wrote it", in.Schema, in.Known)
	}
	var said string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&said); err != nil {
		return in, fmt.Errorf("it is broken: %w", err)
	}
	if said != "ok" {
		return in, fmt.Errorf("it is broken: %s", said)
	}
	return in, nil
}

// still opens a file that nobody changes, and writes nothing to it or beside it.
func still(path string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=ro&immutable=1"}
	return sql.Open("sqlite", dsn.String())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("keeping the directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("keeping the directory: %w", err)
	}
	return nil
}
