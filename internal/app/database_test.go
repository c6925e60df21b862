package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/test/postgres"
)

// journal is a log that several servers write to.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// TestReplicasOnPostgres starts two replicas at once on an empty database, sends
// an alert to one, and asks the other. While the database is away the webhook
// answers 503, and with it back an alert is taken. The password stays in its file.
func TestReplicasOnPostgres(t *testing.T) {
	server := postgres.Start(t)
	const password = "hunter2-hunter2"
	address := strings.Replace(server.Database("app"), "postgres@", "postgres:"+password+"@", 1)
	log := &journal{}
	replicas := make([]running, 2)
	var wg sync.WaitGroup
	for i, name := range []string{"a", "b"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "database.url"), []byte(address+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(writeConfig(t, dir, "listen: 127.0.0.1:0\ndataDir: data\ndatabaseFile: database.url\nreplica: "+name+"\nagents: {recorder: false}\ndiagnose: {window: 500ms}\n"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("replica %s: %v", name, err)
			}
		})
		wg.Go(func() {
			a, err := New(ctx, c, Options{Version: "test", Logger: slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), nil))})
			if err != nil {
				t.Error(err)
				ended <- err
				return
			}
			replicas[i] = running{url: "http://" + a.Addr().String()}
			go func() { ended <- a.Run(ctx) }()
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	const hook = "/webhook/alertmanager"
	for _, r := range replicas {
		until(t, "ready", func() bool { status, _ := ask(t, "GET", r.url+"/readyz", "", ""); return status == 200 })
	}
	if status, body := ask(t, "POST", replicas[0].url+hook, "", recorded(t, "firing-cgroup")); status != 204 {
		t.Fatalf("webhook: %d %s", status, body)
	}
	n := len(replicas[0].list(t, 1))
	if got := replicas[1].list(t, 1); n != 1 || len(got) != 1 {
		t.Errorf("one replica has %d incidents, the other %d", n, len(got))
	}

	other := strings.ReplaceAll(recorded(t, "firing-cgroup"), "checkout", "other")
	up := server.Down()
	for _, r := range replicas {
		if status, body := ask(t, "POST", r.url+hook, "", other); status != 503 {
			t.Errorf("webhook without a database: %d %s", status, body)
		}
		if status, body := ask(t, "GET", r.url+"/readyz", "", ""); status != 503 || !strings.Contains(body, "storage") {
			t.Errorf("readiness without a database: %d %s", status, body)
		}
	}
	up()
	until(t, "taken again", func() bool {
		status, _ := ask(t, "POST", replicas[1].url+hook, "", other)
		return status == 204
	})
	until(t, "asked again", func() bool {
		status, _ := ask(t, "GET", replicas[0].url+"/api/v1/incidents", "", "")
		return status == 200
	})
	if got := replicas[0].list(t, 2); len(got) != 2 {
		t.Errorf("%d incidents", len(got))
	}
	if strings.Contains(log.String(), password) {
		t.Error("the password is in the log")
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(errors.New("not " + what + " after 30 s"))
		}
	}
}
