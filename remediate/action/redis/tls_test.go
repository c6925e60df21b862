package redis_test

import (
	"maps"
	"net"
	"strings"
	"testing"

	"github.com/kmend/kmend/remediate/action/redis"
	real "github.com/kmend/kmend/test/redis"
)

// with is a step's parameters with others besides.
func with(all ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

// overAndBack fails over, and back.
func overAndBack(t *testing.T, a *redis.Failover, params map[string]any) {
	t.Helper()
	// On a busy machine a replica may lack the last pings.
	step := preview(t, a, but(params, "maxLagBytes", 1<<20))
	done := apply(t, a, step)
	if done.Result != "applied" || done.Before != step.Preview.Before || done.After != step.Preview.After {
		t.Errorf("applied %+v", done)
	}
	if back, err := a.Undo(t.Context(), none, step, done); err != nil || back.Result != "undone" || back.After != done.Before {
		t.Errorf("Undo: %+v, %v", back, err)
	}
}

// distrusts checks what is refused where the servers speak TLS only; params do without.
func distrusts(t *testing.T, a *redis.Failover, params map[string]any, ours, others real.Certificates) {
	t.Helper()
	for _, tt := range []struct {
		more map[string]any
		want string
	}{
		{nil, "a majority must: "}, // reset or EOF: the server hangs up
		{map[string]any{"tls": true}, "certificate signed by unknown authority"},
		{map[string]any{"caFile": others.CA}, "certificate signed by unknown authority"},
		{map[string]any{"caFile": ours.Key}, "with.caFile: " + ours.Key + " holds no PEM certificate"},
		{map[string]any{"caFile": ours.CA, "certFile": ours.Cert}, "with.certFile and with.keyFile go together"},
		{map[string]any{"caFile": ours.CA, "certFile": others.Cert, "keyFile": ours.Key}, "with.certFile"},
	} {
		if _, err := a.Preview(t.Context(), none, with(params, tt.more)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.more, err, tt.want)
		}
	}
}

// named is addresses under another name of the same host.
func named(addrs []string) (out []string) {
	for _, a := range addrs {
		_, port, _ := net.SplitHostPort(a)
		out = append(out, net.JoinHostPort("localhost", port))
	}
	return out
}

func TestSentinelOverTLS(t *testing.T) {
	t.Parallel()
	ours, others, a := real.NewCertificates(t), real.NewCertificates(t), sentinelAction(t)
	w := real.StartWatched(t, 1, ours.Config(false)...)
	distrusts(t, a, watchedWith(w), ours, others)
	trusting := with(watchedWith(w), map[string]any{"caFile": ours.CA})
	// The certificate is for 127.0.0.1, whoever answers under another name.
	if _, err := a.Preview(t.Context(), none, but(trusting, "sentinels", named(real.Addrs(w.Sentinels)))); err == nil || !strings.Contains(err.Error(), "wanted to match localhost") {
		t.Errorf("under a name that the certificate does not have: %v", err)
	}
	overAndBack(t, a, trusting)
}

func TestClusterOverTLSWithClientCertificates(t *testing.T) {
	t.Parallel()
	ours, others, a := real.NewCertificates(t), real.NewCertificates(t), clusterAction(t)
	n := real.StartCluster(t, ours.Config(true)...)
	distrusts(t, a, clusterWith(n), ours, others)
	trusting := with(clusterWith(n), map[string]any{"caFile": ours.CA})
	if _, err := a.Preview(t.Context(), none, trusting); err == nil || !strings.Contains(err.Error(), "0 of 3 nodes answer") {
		t.Errorf("without a certificate of one's own: %v", err)
	}
	if _, err := a.Preview(t.Context(), none, with(trusting, map[string]any{"certFile": others.Cert, "keyFile": others.Key})); err == nil {
		t.Error("a certificate of another authority was taken")
	}
	overAndBack(t, a, with(trusting, map[string]any{"certFile": ours.Cert, "keyFile": ours.Key}))
}
