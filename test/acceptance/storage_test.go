package acceptance

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/alertmanager"
	"github.com/kmend/kmend/test/server"
)

// The disk is full: the sender is told to try again, and when there is room
// again the alert that Alertmanager kept arrives. Nothing in between was
// answered with a 2xx and lost.
func TestFullDiskIsTriedAgain(t *testing.T) {
	machine(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("mounting a small file system: %v; `make test` runs this as root with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(data, 0); err != nil {
			t.Error(err)
		}
	})
	s, w := serve(t, func(o *server.Options) { o.Dir = dir }), throttle(t)
	am := alerting(t, s)

	filler := filepath.Join(data, "filler")
	fill(t, filler)
	status, answer, err := s.Deliver(t.Context(), notification(t, "http", w.Path, 20000))
	if err != nil || status != http.StatusServiceUnavailable {
		t.Fatalf("a delivery on a full disk: %d %q, %v; want 503", status, answer, err)
	}
	alert := about(w.Path)
	alert.Annotations = map[string]string{"long": strings.Repeat("x", 20000)}
	post(t, am, alert)
	refused(t, am)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	outcome(t, closed(t, s), incident.DryRun, "")
	if all, err := s.Incidents(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d incidents, %v; want the one of Alertmanager", len(all), err)
	}
}

// fill takes all the room there is.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// refused waits until Alertmanager has been refused and has tried again.
func refused(t *testing.T, am *alertmanager.Server) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := am.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Failed >= 2 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Alertmanager counts %+v; want two refused requests", c)
		}
	}
}

// The queue is full: 503, and the alert comes in when there is room.
func TestFullQueueIsTriedAgain(t *testing.T) {
	s := acting(t, ask, func(o *server.Options) { o.MaxOpenIncidents = 1 })
	first, second := throttle(t), throttle(t)
	am := alerting(t, s)
	post(t, am, about(first.Path))
	waiting := inPhase(t, s, incident.AwaitingApproval)
	post(t, am, about(second.Path))
	refused(t, am)
	if _, err := s.Approve(t.Context(), waiting.ID, "--deny"); err != nil {
		t.Fatal(err)
	}
	inc, err := s.Wait(within(t, 40*time.Second, "the second incident"), func(i incident.Incident) bool {
		return i.Target.Cgroup == second.Path && i.Phase == incident.AwaitingApproval
	})
	if err != nil {
		t.Fatal(err)
	}
	if inc.ID == waiting.ID {
		t.Error("both alerts are one incident")
	}
}
