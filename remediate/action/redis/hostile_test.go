package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/remediate/action/redis"
	real "github.com/kmend/kmend/test/redis"
)

const right, wrong = "s3cret-that-is-right", "s3cret-that-is-wrong"

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	w := real.StartWatched(t, 1, "requirepass "+right, "masterauth "+right)
	a := sentinelAction(t)
	with := but(watchedWith(w), "passwordFile", file(t, right+"\n"))
	step := preview(t, a, with)
	if text := fmt.Sprintf("%+v %+v", step, *step.Preview); strings.Contains(text, right) {
		t.Errorf("the password is in the plan: %s", text)
	}
	for _, bad := range []struct{ path, want string }{
		{file(t, wrong), "WRONGPASS"}, {file(t, ""), "is empty"}, {"relative", "not an absolute path"},
		{"/nowhere/password", "no such file"}, {"/dev/zero", "is not a file"},
	} {
		_, err := a.Preview(t.Context(), none, but(with, "passwordFile", bad.path))
		if err == nil || !strings.Contains(err.Error(), bad.want) || strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v, want %q", bad.path, err, bad.want)
		}
	}
	if _, err := a.Preview(t.Context(), none, watchedWith(w)); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}

// listen starts a server of one's own on the loopback.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// A server that takes connections and says nothing.
func TestAServerThatHangsEndsWithTheContext(t *testing.T) {
	t.Parallel()
	hole := listen(t, func(net.Conn) {})
	why := errors.New("the stage is over")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, why)
	defer cancel()
	for _, c := range []struct {
		action *redis.Failover
		with   map[string]any
	}{
		{sentinelAction(t), map[string]any{"sentinels": []string{hole}, "master": "mymaster"}},
		{clusterAction(t), map[string]any{"nodes": []string{hole}, "from": hole}},
	} {
		began := time.Now()
		_, err := c.action.Preview(ctx, none, c.with)
		if err == nil || !strings.Contains(err.Error(), "a majority must") || time.Since(began) > 2*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	}
}

// A server that sends back what it was given, and more than anybody wants to read.
func TestAServerThatSendsBackThePasswordIsNotBelieved(t *testing.T) {
	t.Parallel()
	echo := listen(t, func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			said := strings.NewReplacer("\r\n", " ").Replace(string(b[:n]))
			fmt.Fprintf(c, "-ERR \x1b[2J %s %s\r\n", said, strings.Repeat("z", 1<<16))
		}
	})
	with := map[string]any{"nodes": []string{echo}, "from": echo, "passwordFile": file(t, right)}
	_, err := clusterAction(t).Preview(t.Context(), none, with)
	if err == nil || strings.Contains(err.Error(), right) || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 1000 {
		t.Errorf("%.2000v", err)
	}
}

func TestParametersThatAreWrong(t *testing.T) {
	good := map[string]any{"sentinels": []string{"127.0.0.1:1"}, "master": "m"}
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"sentinels", []string{}, "with.sentinels is missing"},
		{"sentinels", []string{"127.0.0.1"}, `with.sentinels[0]: "127.0.0.1" is not host:port`},
		{"sentinels", []string{"a:1", "a:1"}, "with.sentinels[1]: a:1 is there twice"},
		{"master", "", "with.master is missing"},
		{"from", "here", `with.from: "here" is not host:port`},
		{"maxLagBytes", -1, "with.maxLagBytes: -1 is out of bounds"},
		{"maxLagSeconds", 0, "with.maxLagSeconds: 0 is out of bounds"},
		{"minInterval", "25h", "with.minInterval: 25h0m0s is out of bounds"},
		{"certFile", "/x", "with.certFile and with.keyFile go together"},
		{"caFile", file(t, "no PEM"), "holds no PEM certificate"},
		{"force", true, "with.force: unknown parameter"},
	} {
		if _, err := sentinelAction(t).Preview(t.Context(), none, but(good, c.key, c.value)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if _, err := redis.NewClusterFailover(redis.Options{Wait: time.Hour}); err == nil || !strings.Contains(err.Error(), "redis options: Wait is 1h0m0s") {
		t.Errorf("options: %v", err)
	}
}
