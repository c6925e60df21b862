package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/postgres"
)

// opener opens a new, empty database, closed with the test.
type opener func(t *testing.T) *Store

// databases gives each test a database of its own on one server.
func databases(server *postgres.Server) func() (address string) {
	var n atomic.Int64
	return func() string { return server.Database(fmt.Sprintf("kmend%d", n.Add(1))) }
}

func openAt(t *testing.T, address string) *Store {
	t.Helper()
	s, err := OpenPostgres(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestPostgres: what holds on SQLite holds on a real PostgreSQL, by the same tests.
func TestPostgres(t *testing.T) {
	address := databases(postgres.Start(t))
	open := func(t *testing.T) *Store { t.Helper(); return openAt(t, address()) }
	for name, test := range map[string]func(*testing.T, opener){
		"RoundTrip": testRoundTrip, "Record": testRecord, "PhasesAreChecked": testPhasesAreChecked, "List": testList,
		"Approve": testApprove, "Claim": testClaim, "Waiting": testWaiting, "Deliveries": testDeliveries, "SupersededAndNoted": testSupersededAndNoted,
		"OneIncidentAFiring": testOneIncidentAFiring, "ConcurrentDeliveries": testConcurrentDeliveries, "Limit": testLimit,
		"OneBadCall": testOneBadCall, "Owner": testOwner, "HostileText": testHostileText,
		"Runs": testRuns, "Pause": testPause, "Flapping": testFlapping, "EpisodesDoNotGoByTheClock": testEpisodesDoNotGoByTheClock, "FiresWhileActing": testFiresWhileActing, "FiresAgainSinceThen": testFiresAgainSinceThen, "Correlation": testCorrelation, "ReserveMessage": testReserveMessage, "Sent": testSent, "Messages": testMessages, "Forget": testForget, "Others": testOthers, "Summaries": testSummaries, "Unsummarized": testUnsummarized, "ModelCalls": testModelCalls, "TestAlert": testTestAlert,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
	t.Run("newer schema", func(t *testing.T) {
		at := address()
		testNewerSchema(t, func() (*Store, error) { return OpenPostgres(t.Context(), at) })
	})
	t.Run("inspect", func(t *testing.T) {
		at := address()
		if _, err := InspectPostgres(t.Context(), at); !errors.Is(err, ErrNoDatabase) {
			t.Errorf("an empty database: %v", err)
		}
		testInspect(t, openAt(t, at), func() (Inspection, error) { return InspectPostgres(t.Context(), at) })
	})
	t.Run("several", func(t *testing.T) { testSeveral(t, address()) })
	t.Run("alone", func(t *testing.T) { testAlone(t, address()) })
	t.Run("at once", func(t *testing.T) { testOpenAtOnce(t, address()) })
}

// Zero bytes and broken UTF-8 in what a sender wrote are no storage trouble: the
// sender would try again for ever.
func TestHostileText(t *testing.T) { testHostileText(t, openTest) }

func testHostileText(t *testing.T, empty opener) {
	s := empty(t)
	bad := "a\x00b\xff'; DROP TABLE incidents; --?"
	a := alert(bad, incident.Firing, noon)
	got := ingest(t, s, Seed{DedupKey: bad, Target: incident.Target{Cgroup: bad}, Alerts: []incident.Alert{a}, Source: bad, NoTarget: bad})
	again := ingest(t, s, Seed{DedupKey: bad, Target: incident.Target{Cgroup: bad}, Alerts: []incident.Alert{a}})
	if !got.New || again.New || again.ID != got.ID {
		t.Errorf("first %+v, again %+v", got, again)
	}
	record(t, s, got.ID, bad, Change{To: incident.Escalated, Outcome: incident.Failed, Reason: bad, Event: incident.Event{Kind: bad, Message: bad, Fields: map[string]string{bad: bad}}})
	if p := get(t, s, got.ID); p.Phase != incident.Escalated || !strings.Contains(p.Reason, "DROP TABLE incidents; --?") {
		t.Errorf("phase %s, reason %q", p.Phase, p.Reason)
	}
}

// testSeveral has three processes' worth of stores take the same deliveries, claim
// the same things and record the same keys at once.
func testSeveral(t *testing.T, address string) {
	stores := []*Store{openAt(t, address), openAt(t, address), openAt(t, address)}
	var wg sync.WaitGroup
	var opened, fresh, claimed atomic.Int64
	for _, s := range stores {
		for range 4 {
			wg.Go(func() {
				for range 10 {
					got, err := s.Ingest(t.Context(), []Seed{seed(alert("1", incident.Firing, noon))}, 10)
					if err != nil {
						t.Error(err)
						return
					}
					if got[0].New {
						opened.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	ids, err := openIDs(t.Context(), stores[0])
	if err != nil || len(ids) != 1 || opened.Load() != 1 {
		t.Fatalf("open %v, %d said that they opened one, %v", ids, opened.Load(), err)
	}
	if p := get(t, stores[1], ids[0]); p.Deliveries != 120 {
		t.Errorf("%d deliveries, want 120", p.Deliveries)
	}
	for i := range 10 {
		other := ingest(t, stores[0], Seed{DedupKey: fmt.Sprint(i), Alerts: []incident.Alert{alert("1", incident.Firing, noon)}}).ID
		for _, s := range stores {
			wg.Go(func() {
				if first, err := s.Record(t.Context(), ids[0], fmt.Sprint("key", i), Change{}); err != nil {
					t.Error(err)
				} else if first {
					fresh.Add(1)
				}
			})
		}
		wg.Go(func() {
			holder, err := stores[i%3].Claim(t.Context(), other, []string{"x", "y"})
			if err != nil {
				t.Error(err)
			} else if holder == "" {
				claimed.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 10 || claimed.Load() != 1 {
		t.Errorf("10 keys were fresh %d times, one thing was claimed by %d", fresh.Load(), claimed.Load())
	}
}

// testAlone: one at a time among all replicas.
func testAlone(t *testing.T, address string) {
	stores := []*Store{openAt(t, address), openAt(t, address)}
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			release, err := stores[i%2].Alone(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n > 1 {
				most.Store(n)
			}
			time.Sleep(20 * time.Millisecond)
			inside.Add(-1)
			release()
		})
	}
	wg.Wait()
	if most.Load() > 0 {
		t.Errorf("%d were alone at the same time", most.Load())
	}
}

// testOpenAtOnce: replicas that start together on an empty database all come up.
func testOpenAtOnce(t *testing.T, address string) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := OpenPostgres(t.Context(), address)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// No error about a database repeats its password.
func TestPasswordStaysSecret(t *testing.T) {
	for _, address := range []string{
		"postgres://kmend:hunter2@127.0.0.1:1/kmend", "postgres://kmend:hunter2@127.0.0.1:1/kmend?sslmode=hunter2", "postgres://kmend:hunter2@127.0.0.1:x/kmend",
		"host=127.0.0.1 password=hunter2", "postgres://127.0.0.1:1/kmend?password=hunter2", "postgres://kmend:hunter2@[::1/kmend", "mysql://kmend:hunter2@db/kmend",
	} {
		s, err := OpenPostgres(t.Context(), address)
		if err == nil {
			s.Close()
			t.Errorf("%s was opened", address)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %q", err)
		}
	}
}

// testHang: a server that hangs is an error within the busy timeout, and it is
// storage trouble, not an answer; with the server back everything goes on.
func TestPostgresHangs(t *testing.T) {
	server := postgres.Start(t)
	s := openAt(t, server.Database("hangs"))
	ingest(t, s, big(1))
	resume := server.Hang()
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := s.Ingest(t.Context(), []Seed{big(10 + i)}, 100); err == nil || Refused(err) {
				t.Errorf("Ingest while the server hangs: %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 3*busyTimeout {
		t.Errorf("8 calls took %s to fail", took)
	}
	resume()
	ingest(t, s, big(1))
	up := server.Down()
	if _, err := s.Ingest(t.Context(), []Seed{big(3)}, 100); err == nil || Refused(err) || errors.Is(err, ErrStopped) {
		t.Errorf("Ingest without a server: %v", err)
	}
	up()
	ingest(t, s, big(3))
	if p := get(t, s, ingest(t, s, big(1)).ID); p.Deliveries != 3 {
		t.Errorf("%d deliveries of the first, want 3", p.Deliveries)
	}
}
