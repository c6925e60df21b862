package scale

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/diagnose/agent/agentpb"
	"github.com/kmend/kmend/diagnose/agent/agentpb/agentpbconnect"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
)

// agents stands in for the agents of all nodes: one server, which every agent's pod
// has the address of. It speaks the agents' protocol over TLS, knows its caller by a
// token, and says of every container that its quota throttles it.
type agents struct {
	agentpbconnect.UnimplementedAgentServiceHandler
	measurement *agentpb.Measurement
	asked       atomic.Int64
}

const agentToken = "the-agents-token"

// startAgents starts it, and says how kmend reaches it.
func startAgents(t *testing.T) (*agents, server.Agent) {
	t.Helper()
	a := &agents{measurement: measured(t)}
	_, h := agentpbconnect.NewAgentServiceHandler(a)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+agentToken {
			http.Error(w, "no bearer token of kmend's", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := errors.Join(os.WriteFile(ca, block, 0o600), os.WriteFile(token, []byte(agentToken), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return a, server.Agent{Namespace: "kmend", Selector: "app=kmend-agent", Port: n, ServerName: "example.com", CAFile: ca, TokenFile: token}
}

// Diagnose answers at once with the same measurement for every target, and has no
// flight recorder.
func (a *agents) Diagnose(_ context.Context, r *connect.Request[agentpb.DiagnoseRequest], out *connect.ServerStream[agentpb.DiagnoseResponse]) error {
	a.asked.Add(1)
	if r.Msg.GetSince() != nil {
		return connect.NewError(connect.CodeFailedPrecondition, errors.New("nothing is recorded here"))
	}
	target := r.Msg.GetTarget()
	if target.GetNode() == "" || target.GetPodUid() == "" || target.GetContainerId() == "" {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("the target has no node, uid or container id"))
	}
	target.Cgroup = "/sys/fs/cgroup/pod" + target.GetPodUid() + "/app" // evidence is about a cgroup /app
	m := &agentpb.Measurement{Target: target, Node: &agentpb.Node{Name: target.GetNode(), Kernel: "6.12.0", Cpus: 2, AgentVersion: "stand-in"},
		Window:   &agentpb.Window{Start: timestamppb.New(time.Now().Add(-3 * time.Second)), Seconds: 3},
		Evidence: a.measurement.GetEvidence(), Ledger: a.measurement.GetLedger(), Probes: a.measurement.GetProbes()}
	return out.Send(&agentpb.DiagnoseResponse{ApiVersion: agent.APIVersion, Event: &agentpb.DiagnoseResponse_Measurement{Measurement: m}})
}

// measured is a measurement that diagnose/cause is tested with.
func measured(t *testing.T) *agentpb.Measurement {
	t.Helper()
	b, err := os.ReadFile("../../diagnose/cause/testdata/throttled/measurement.json")
	if err != nil {
		t.Fatal(err)
	}
	var m incident.Measurement
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	out := &agentpb.Measurement{
		Ledger: &agentpb.Ledger{Threads: int64(m.Ledger.Threads), WallMs: m.Ledger.WallMS, StatesMs: map[string]float64{}}}
	for state, ms := range m.Ledger.States {
		out.Ledger.StatesMs[string(state)] = ms
	}
	for _, e := range m.Evidence {
		out.Evidence = append(out.Evidence, &agentpb.Evidence{Id: e.ID, Probe: e.Probe, Metric: e.Metric, Subject: e.Subject, Value: e.Value, Unit: e.Unit})
	}
	for _, p := range m.Probes {
		out.Probes = append(out.Probes, &agentpb.ProbeStatus{Name: p.Name, Status: string(p.Status), Reason: p.Reason})
	}
	return out
}
