package redis

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// Watched is a master, its replicas, and the Sentinels that watch over them by
// the name "mymaster".
type Watched struct {
	Master    *Server
	Replicas  []*Server
	Sentinels []*Server
}

// StartWatched starts one master, n replicas and three Sentinels with a quorum
// of two, and returns once all know each other. The Sentinels are told to look
// ten times as often as they do.
func StartWatched(t testing.TB, n int, config ...string) *Watched {
	t.Helper()
	w := &Watched{Master: Start(t, append(quick(), config...)...)}
	host, port, _ := net.SplitHostPort(w.Master.Addr)
	auth := w.Master.Client.Options().Password
	for range n {
		r := Start(t, append(append(quick(), fmt.Sprintf("replicaof %s %s", host, port)), config...)...)
		w.Replicas = append(w.Replicas, r)
	}
	for _, r := range w.Replicas {
		r.has("master_link_status", "up")
	}
	lines := []string{
		fmt.Sprintf("sentinel monitor mymaster %s %s 2", host, port),
		"sentinel down-after-milliseconds mymaster 2000",
		"sentinel failover-timeout mymaster 20000",
	}
	if auth != "" {
		lines = append(lines, "sentinel auth-pass mymaster "+auth)
	}
	for _, l := range config {
		if strings.HasPrefix(l, "tls-") {
			lines = append(lines, l)
		}
	}
	for range 3 {
		w.Sentinels = append(w.Sentinels, start(t, []string{"--sentinel"}, lines...))
	}
	for _, s := range w.Sentinels {
		s.Do("SENTINEL", "DEBUG", "INFO-PERIOD", "200", "PING-PERIOD", "100", "ASK-PERIOD", "100", "PUBLISH-PERIOD", "200")
	}
	for _, s := range w.Sentinels {
		s.Until("it knows the others", func() error {
			m, err := s.Client.Do(t.Context(), "SENTINEL", "MASTER", "mymaster").Slice()
			if err != nil {
				return err
			}
			has := map[string]string{}
			for i := 0; i+1 < len(m); i += 2 {
				has[fmt.Sprint(m[i])] = fmt.Sprint(m[i+1])
			}
			if has["num-slaves"] != fmt.Sprint(n) || has["num-other-sentinels"] != "2" || has["flags"] != "master" {
				return fmt.Errorf("replicas %s of %d, other Sentinels %s, flags %s", has["num-slaves"], n, has["num-other-sentinels"], has["flags"])
			}
			return nil
		})
	}
	return w
}

// Addrs are the addresses of servers.
func Addrs(servers []*Server) []string {
	var out []string
	for _, s := range servers {
		out = append(out, s.Addr)
	}
	return out
}
