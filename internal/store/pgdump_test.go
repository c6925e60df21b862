package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/postgres"
)

// The commands of docs/operate.md bring a record in PostgreSQL into another database,
// where what was open is ended.
func TestPostgresTools(t *testing.T) {
	server, _, err := postgres.Program()
	if errors.Is(err, postgres.ErrNone) {
		t.Skip(err)
	}
	tools := filepath.Dir(server)
	if _, err := os.Stat(filepath.Join(tools, "pg_dump")); err != nil {
		t.Skip("no pg_dump beside postgres; install postgresql-client")
	}
	text, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	address := databases(postgres.Start(t))
	from, to, dir := address(), address(), t.TempDir()
	run := func(program, database string) {
		t.Helper()
		command := regexp.MustCompile(`(?m)^    (` + program + ` .*)$`).FindSubmatch(text)
		if command == nil {
			t.Fatalf("docs/operate.md has no command %s", program)
		}
		cmd := exec.Command("sh", "-ec", string(command[1]))
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "DATABASE_URL="+database, "PATH="+tools+":/usr/bin:/bin")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command[1], err, out)
		}
	}
	s := openAt(t, from)
	if err := s.Join(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	open := ingest(t, s, seed(alert("f1", incident.Firing, noon))).ID
	if owned, err := s.Own(t.Context(), open); !owned || err != nil {
		t.Fatal(owned, err)
	}
	if _, err := s.Restored(t.Context()); !errors.Is(err, ErrInUse) {
		t.Errorf("while a replica is up: %v", err)
	}
	run("pg_dump", from)
	run("pg_restore", to)

	other := openAt(t, to)
	n, err := other.Restored(t.Context())
	if n != 1 || err != nil {
		t.Fatalf("%d ended, %v", n, err)
	}
	p := get(t, other, open)
	if p.Outcome != incident.Interrupted {
		t.Errorf("%s: %s", p.Outcome, p.Reason)
	}
	if _, paused, err := other.Paused(t.Context()); !paused || err != nil {
		t.Errorf("paused: %v, %v", paused, err)
	}
	if got := get(t, s, open); got.Phase != incident.Received {
		t.Errorf("the first database: %s", got.Phase)
	}
	if err := other.Join(t.Context(), "r1"); err != nil {
		t.Error(err)
	}
}
