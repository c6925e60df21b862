package app

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/kmend/kmend/internal/store"
)

// Shared reports whether the record is in PostgreSQL, whose own tools back it up.
func (c Config) Shared() bool { return c.shared() }

func (c Config) databaseFile() string { return filepath.Join(c.DataDir, "kmend.db") }

// Backup writes the record to a new file, while kmend serves it or not.
func (c Config) Backup(ctx context.Context, file string) error {
	if c.shared() {
		return errors.New("the record is in PostgreSQL; back it up with pg_dump --format=custom --file FILE DATABASE_URL (docs/operate.md)")
	}
	return store.Backup(ctx, c.databaseFile(), file)
}

// Restore puts a backup in the place of the record. With PostgreSQL, whose tools have
// restored it, file is empty and the rest is the same: what was open is ended, and
// kmend is paused.
func (c Config) Restore(ctx context.Context, file string, force bool) (done store.Restored, err error) {
	if !c.shared() {
		return store.Restore(ctx, file, c.databaseFile(), force)
	}
	if file != "" {
		return done, errors.New("the record is in PostgreSQL; restore it with pg_restore, and run kmend restore without a file then (docs/operate.md)")
	}
	db, err := c.open(ctx)
	if err != nil {
		return done, err
	}
	done.Interrupted, err = db.Restored(ctx)
	return done, errors.Join(err, db.Close())
}
