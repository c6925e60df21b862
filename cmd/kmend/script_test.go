package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"kmend": main}) }

// TestScripts runs testdata/script: the program as its users run it. Beside
// testscript's own commands there are
//
//	exits N ARGS...  kmend ARGS, which must exit with status N
//	serving CONFIG   kmend serve in the background, until the script ends; sets KMEND_SERVER
//	post FILE STATUS sends FILE to the webhook
//	newest           sets INCIDENT to the newest incident's ID
//	until TEXT ARGS  kmend ARGS until its output holds TEXT
//	documented       every command that the documentation shows
func TestScripts(t *testing.T) {
	payloads, err := filepath.Abs("../../webhook/testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PAYLOADS", payloads)
			e.Setenv("CGROUP", ownCgroup())
			e.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "serving": serving, "post": post, "newest": newest, "until": until, "documented": documented,
		},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("kmend", args[1:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("kmend: %v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("kmend %s: exit status %d; want %d", strings.Join(args[1:], " "), got, want)
	}
}

// serving starts the program in a process of its own on a free port.
func serving(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	addr := l.Addr().String()
	ts.Check(l.Close())
	path := ts.MkAbs(args[0])
	config := strings.ReplaceAll(ts.ReadFile(args[0]), "ADDRESS", addr)
	ts.Check(os.WriteFile(path, []byte(config), 0o600))
	program, err := exec.LookPath("kmend")
	ts.Check(err)
	c := exec.Command(program, "serve", "--config", path)
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	c.Stderr = log
	ts.Check(c.Start())
	ts.Defer(func() {
		_ = c.Process.Signal(os.Interrupt)
		if err := c.Wait(); err != nil {
			ts.Logf("kmend serve: %v", err)
		}
		ts.Check(log.Close())
	})
	ts.Setenv("KMEND_SERVER", "http://"+addr)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if ts.Exec("kmend", "incidents", "list", "--token-file", ts.Getenv("TOKEN")) == nil {
			return
		}
		if time.Now().After(until) {
			ts.Fatalf("kmend serve does not answer; its log:\n%s", ts.ReadFile("serve.log"))
		}
	}
}

func post(ts *testscript.TestScript, _ bool, args []string) {
	token := strings.TrimSpace(ts.ReadFile("webhook.token"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	status, body, err := send(ctx, ts.Getenv("KMEND_SERVER")+"/webhook/alertmanager", token, ts.ReadFile(args[0]))
	ts.Check(err)
	if strconv.Itoa(status) != args[1] {
		ts.Fatalf("webhook: status %d %s; want %s", status, body, args[1])
	}
}

func newest(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Exec("kmend", "incidents", "list", "-o", "json"))
	var list incidentList
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	if len(list.Items) == 0 {
		ts.Fatalf("no incidents")
	}
	ts.Setenv("INCIDENT", list.Items[0].ID)
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec("kmend", args[1:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no %q within 20 s", args[0])
		}
	}
}
