package respond

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

// TestUpgrade: what an older kmend was killed in the middle of, this one goes on
// with, as that one would have. testdata/older/make made the databases.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	older, err := filepath.Glob("testdata/older/*/*.sql")
	if err != nil || len(older) < 16 {
		t.Fatalf("%d files of older databases, %v", len(older), err)
	}
	for name, change := range map[string]string{
		"the same flow":             ``,
		"a flow of another version": `UPDATE workflow_status SET application_version = '0'`,
		"a flow of other stages":    `UPDATE operation_outputs SET function_name = 'older ' || function_name, output = 'older'`,
	} {
		for _, file := range older {
			commit, point := filepath.Base(filepath.Dir(file)), strings.TrimSuffix(filepath.Base(file), ".sql")
			if point == "schema" {
				continue
			}
			t.Run(strings.ReplaceAll(name, " ", "_")+"/"+commit+"/"+point, func(t *testing.T) {
				t.Parallel()
				at := onSQLite(t)
				at.older(t, file, change)
				f := flow{outcome: incident.Fixed, world: []string{"apply 0", "apply 1"}}
				if point == "undoing" {
					f.child.Worse = true
					f.outcome, f.world = incident.Undone, append(f.world, "undo 1", "undo 0")
				}
				f.child.Sweep = 100 * time.Millisecond
				seen := readLines(at.Dir, "world")
				at.with(f.child).toTheEnd(t)
				f.judge(t, at, true)
				if point == "acted" || point == "undoing" { // an act without a result is asked for again
					return
				}
				for _, l := range readLines(at.Dir, "world")[len(seen):] {
					if slices.Contains(seen, l) {
						t.Errorf("%q once more after the upgrade", l)
					}
				}
			})
		}
	}
}

// older makes the database of an older kmend, and the world that it knew, as if that
// had been killed a second ago.
func (c child) older(t *testing.T, file, change string) {
	t.Helper()
	db, err := sql.Open("sqlite", c.file())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	run := func(statements string, args ...any) {
		t.Helper()
		if _, err := db.Exec(statements, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{filepath.Join(filepath.Dir(file), "schema.sql"), file} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if seen, ok := strings.CutPrefix(strings.TrimSpace(line), "-- world: "); ok {
				c.write("world", seen)
			}
		}
		run(string(text))
	}
	var last int64
	if err := db.QueryRow(`SELECT max(at) FROM timeline`).Scan(&last); err != nil {
		t.Fatal(err)
	}
	killed := time.Now().Add(-time.Second)
	late := killed.UnixNano() - last
	run(`UPDATE timeline SET at = at + ?`, late)
	run(`UPDATE incidents SET received_at = received_at + ?1, answer_by = answer_by + ?1, diagnosis = json_set(diagnosis, '$.window.start', ?2)`,
		late, killed.Add(-3*time.Second).Format(time.RFC3339Nano))
	c.say("alert")
	run(change)
}
