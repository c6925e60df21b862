package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// database is a PostgreSQL server of the bed's own, in a group and a namespace.
type database struct {
	b     *bed
	bin   string
	netns string
	addr  string
	dir   string
	user  spawn // who runs it
	who   *group
	proc  *proc
}

// postgres starts a server with a new cluster in dir ("" is the case's folder).
// It ends with the case; it is no service of the machine.
func (b *bed) postgres(g *group, netns, addr, dir string) *database {
	if dir == "" {
		dir = b.dir
	}
	uid, gid := b.nobody()
	db := &database{b: b, bin: b.postgresBin(), netns: netns, addr: addr, dir: filepath.Join(dir, b.name()), who: b.group("q")}
	db.user = spawn{netns: netns, uid: uid, gid: gid, dir: "/", env: []string{"LC_ALL=C", "PGUSER=app", "PGDATABASE=postgres", "PGHOST=" + addr, "PGPORT=5433"}}
	b.check(os.Mkdir(db.dir, 0o700))
	b.check(os.Chown(db.dir, uid, gid))
	_, err := db.who.once(db.user, filepath.Join(db.bin, "initdb"), "-D", db.dir, "-U", "app", "-A", "trust", "-N", "--no-instructions", "-E", "UTF8")
	b.check(err)
	// From the other end of a link too.
	b.check(os.WriteFile(filepath.Join(db.dir, "pg_hba.conf"), []byte("host all all all trust\n"), 0o644))
	db.proc = g.start(db.user, filepath.Join(db.bin, "postgres"), "-D", db.dir, "-k", "", "-c", "listen_addresses="+addr, "-p", "5433",
		"-c", "shared_buffers=32MB", "-c", "max_connections=60", "-c", "autovacuum=off", "-c", "log_min_messages=fatal")
	// Backends hold on to what postgres was told at its start: end it as an
	// administrator would, so that none outlives the case.
	b.later(func() error { _ = unix.Kill(db.proc.pid, unix.SIGQUIT); time.Sleep(100 * time.Millisecond); return nil })
	b.until("postgres", 60*time.Second, func() bool {
		_, err := db.who.once(db.user, filepath.Join(db.bin, "pg_isready"), "-q")
		return err == nil
	})
	return db
}

// sql runs statements and returns the first column of the first row.
func (db *database) sql(statements string) string {
	out, err := db.who.once(db.user, filepath.Join(db.bin, "psql"), "-XAtqc", statements)
	db.b.check(err)
	return strings.TrimSpace(out)
}

// session runs statements in a session of their own, which stays for the case.
func (db *database) session(g *group, statements string) *proc {
	return g.start(db.user, filepath.Join(db.bin, "psql"), "-XAtqc", statements)
}

// pgbench runs a script without end, in clients of the group g; the last of args
// is the script.
func (db *database) pgbench(g *group, netns string, args ...string) *proc {
	script := db.b.file()
	last := len(args) - 1
	db.b.check(os.WriteFile(script, []byte(strings.ReplaceAll(args[last], "; ", ";\n")+"\n"), 0o644))
	who := db.user
	who.netns = netns
	line := append([]string{filepath.Join(db.bin, "pgbench"), "-n", "-T", "3600", "-f", script}, args[:last]...)
	return g.start(who, line...)
}

// level is what a query counts, as a witness.
func (db *database) level(what, query string, least float64) meter {
	return meter{what: what, least: least, level: true, read: func() (float64, error) {
		out, err := db.who.once(db.user, filepath.Join(db.bin, "psql"), "-XAtqc", query)
		if err != nil {
			return 0, err
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", query, err)
		}
		return v, nil
	}}
}

func (db *database) waiting(least float64) meter {
	return db.level("locks not granted in pg_locks", "select count(*) from pg_locks where not granted", least)
}
