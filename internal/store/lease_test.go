package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/postgres"
)

// testOwner: an incident has one owner, only it writes, and the next life of the
// executor finds what the one before it left, and until when that was up.
func TestOwner(t *testing.T) { testOwner(t, openTest) }

func testOwner(t *testing.T, empty opener) {
	s := empty(t)
	if err := s.Join(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	id := ingest(t, s, seed(alert("1", incident.Firing, noon))).ID
	if _, err := s.Record(t.Context(), id, "k", Change{}); !errors.Is(err, ErrLost) {
		t.Errorf("Record of what nobody owns: %v", err)
	}
	if _, err := s.Claim(t.Context(), id, []string{"x"}); !errors.Is(err, ErrLost) {
		t.Errorf("Claim for what nobody owns: %v", err)
	}
	lines := len(get(t, s, id).Timeline)
	for range 2 {
		if err := s.Note(t.Context(), id, "click", incident.Event{Kind: "decided", Message: "somebody clicks"}); err != nil {
			t.Errorf("Note about what nobody owns: %v", err)
		}
	}
	if p := get(t, s, id); len(p.Timeline) != lines+1 || p.Timeline[lines].Phase != incident.Received {
		t.Errorf("after two notes under one key: %v", p.Timeline)
	}
	for range 2 {
		if owned, err := s.Own(t.Context(), id); !owned || err != nil {
			t.Fatalf("Own = %v, %v", owned, err)
		}
	}
	record(t, s, id, "k", Change{To: incident.Diagnosing})
	if p := get(t, s, id); p.OwnedAt.Before(p.ReceivedAt) || !p.SeenUntil.IsZero() {
		t.Errorf("owned at %s, seen until %s", p.OwnedAt, p.SeenUntil)
	}
	if err := s.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	beaten := get(t, s, id).OwnedAt
	if s.d.shared {
		s.lease.drop()
	}
	if err := s.Join(t.Context(), "a"); err != nil { // its next life
		t.Fatal(err)
	}
	if _, err := s.Record(t.Context(), id, "k", Change{}); !errors.Is(err, ErrLost) {
		t.Errorf("Record of a key that is there, of what the life before owned: %v", err)
	}
	ids, err := s.Unattended(t.Context())
	if err != nil || len(ids) != 1 {
		t.Errorf("unattended: %v, %v", ids, err)
	}
	if owned, err := s.Own(t.Context(), id); !owned || err != nil {
		t.Fatalf("Own = %v, %v", owned, err)
	}
	if p := get(t, s, id); !p.SeenUntil.After(beaten) || !p.OwnedAt.After(p.SeenUntil) {
		t.Errorf("owned first at %s, seen until %s, owned again at %s", beaten, p.SeenUntil, p.OwnedAt)
	}
}

// TestTakeOver: nobody takes over who is alive, one of two takes over who is dead,
// and who was taken for dead writes nothing any more.
func TestTakeOver(t *testing.T) {
	address := postgres.Start(t).Database("takeover")
	join := func(name string) *Store {
		s := openAt(t, address)
		if err := s.Join(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b, c := join("a"), join("b"), join("c")
	id := ingest(t, a, seed(alert("1", incident.Firing, noon))).ID
	if owned, err := a.Own(t.Context(), id); !owned || err != nil {
		t.Fatal(owned, err)
	}
	if owned, err := b.Own(t.Context(), id); owned || err != nil {
		t.Fatalf("b owns what a has: %v", err)
	}
	peer := func(s *Store, name string) Replica {
		t.Helper()
		peers, err := s.Peers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers {
			if p.Executor == name {
				return p
			}
		}
		t.Fatalf("no replica %s", name)
		return Replica{}
	}
	var resumed int
	resume := func(context.Context) error { resumed++; return nil }
	taken := func(s *Store, r Replica) bool {
		t.Helper()
		if err := s.Beat(t.Context()); err != nil { // the server ends a session that is silent
			t.Fatal(err)
		}
		ok, err := s.TakeOver(t.Context(), r, resume)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	seen := peer(b, "a")
	if taken(b, seen) {
		t.Error("b took over a, which has its lock")
	}
	a.lease.drop() // as if its connection had broken
	if err := a.Beat(t.Context()); err != nil {
		t.Errorf("a was not taken over and takes its lock again: %v", err)
	}
	a.lease.drop()
	if taken(b, seen) {
		t.Error("b took over a, which was heard of since")
	}
	seen = peer(b, "a")
	for until := time.Now().Add(30 * time.Second); !taken(b, seen) && time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond) // the server takes its time to see that a's connection is gone
	}
	if taken(c, seen) || resumed != 1 {
		t.Errorf("taken over by both or none; resumed %d times", resumed)
	}
	if err := a.Beat(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("a's beat after it was taken over: %v", err)
	}
	if _, err := a.Record(t.Context(), id, "intent", Change{}); !errors.Is(err, ErrLost) {
		t.Errorf("a's intent after it was taken over: %v", err)
	}
	if _, err := a.Own(t.Context(), id); !errors.Is(err, ErrLost) {
		t.Errorf("a takes it back: %v", err)
	}
	if owned, err := c.Own(t.Context(), id); !owned || err != nil {
		t.Errorf("c takes it: %v, %v", owned, err)
	}
	if p := get(t, c, id); p.SeenUntil.IsZero() {
		t.Error("nobody knows until when a was up")
	}
	if err := openAt(t, address).lockExecutor(t.Context(), "b", 0); !errors.Is(err, ErrInUse) {
		t.Errorf("a second b: %v", err)
	}
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone := peer(c, "b")
	for until := time.Now().Add(30 * time.Second); !taken(c, gone) && time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond)
	}
	if !gone.Gone || resumed != 2 {
		t.Errorf("b left: %+v, and %d were taken over", gone, resumed)
	}
}

// TestUpdateOfAnOpenDatabase: a database of before there were replicas is taken
// up as what its one process left, with when that was last up.
func TestUpdateOfAnOpenDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmend.db")
	db, err := connect(path, busyTimeout, "_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	p, err := sqliteDialect().migrator(db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`INSERT INTO incidents (id, dedup_key, phase, deliveries, received_at, target, alerts) VALUES ('old', 'k', 'diagnosing', 1, 1, '{}', '[]')`,
		`INSERT INTO heartbeat (id, at) VALUES (1, 12345)`,
	} {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Join(t.Context(), "kmend"); err != nil {
		t.Fatal(err)
	}
	if owned, err := s.Own(t.Context(), "old"); !owned || err != nil {
		t.Fatal(owned, err)
	}
	if p := get(t, s, "old"); p.SeenUntil.UnixNano() != 12345 {
		t.Errorf("seen until %s", p.SeenUntil)
	}
}
