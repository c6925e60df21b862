package app

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"github.com/kmend/kmend/internal/secret"
	"github.com/kmend/kmend/internal/store"
)

// sqliteReplica is the name of the only process that a SQLite file has.
const sqliteReplica = "kmend"

// shared reports whether the incidents are in PostgreSQL.
func (c Config) shared() bool { return c.Database != "" || c.DatabaseFile != "" }

// open opens the database that the configuration names. No error repeats its URL.
func (c Config) open(ctx context.Context) (*store.Store, error) {
	if !c.shared() {
		db, err := store.Open(ctx, c.databaseFile())
		if err != nil {
			return nil, fmt.Errorf("%w; dataDir is where it is", err)
		}
		return db, nil
	}
	address, field, err := c.address()
	if err != nil {
		return nil, err
	}
	db, err := store.OpenPostgres(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%w; %s says where it is", err, field)
	}
	return db, nil
}

// address is the URL of the database and the field that it is from.
func (c Config) address() (address, field string, err error) {
	if c.DatabaseFile == "" {
		return c.Database, "database", nil
	}
	f, err := secret.Open(c.DatabaseFile)
	if err != nil {
		return "", "", fmt.Errorf("databaseFile: %w", err)
	}
	address, err = f.Value()
	return address, "databaseFile", err
}

// replica is the name of this process among those that share the database.
func (c Config) replica() (string, error) {
	switch {
	case !c.shared():
		return sqliteReplica, nil
	case c.Replica != "":
		return c.Replica, nil
	}
	name, err := os.Hostname() // in Kubernetes that of the pod
	if err != nil {
		return "", fmt.Errorf("naming this replica: %w; set replica", err)
	}
	return name, nil
}

// storage checks that what is received can be kept.
func (c Config) storage(db *store.Store) func(context.Context) error {
	if c.shared() {
		return db.Check
	}
	return writable(c.DataDir)
}

// hasPassword reports whether a URL holds one, in either of its two places.
func hasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return true
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password")
}

// checkDatabase notes its problems at another field: a message shows the line of
// its field, and these lines may hold a password.
func (c Config) checkDatabase(k *checker) {
	const quiet = "apiVersion"
	switch {
	case c.Database != "" && c.DatabaseFile != "":
		k.at(quiet, "database and databaseFile are both set; set one")
		return
	case c.Replica != "" && !c.shared():
		k.at("replica", "replica is set and the database is SQLite, which has one process only; set databaseFile, or remove it")
		return
	case !c.shared():
		return
	}
	address, field := c.Database, "database"
	if c.DatabaseFile != "" {
		field, address = "databaseFile", k.secret("databaseFile", c.DatabaseFile)
		if address == "" {
			return
		}
	}
	_, err := store.PostgresConfig(address)
	switch {
	case err != nil:
		k.at(quiet, "%s: %v", field, err)
	case c.Database != "" && hasPassword(address):
		k.at(quiet, "database holds a password, which does not belong into this file; write the URL into a file of its own and set databaseFile")
	}
}
