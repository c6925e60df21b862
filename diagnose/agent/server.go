package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"
	"github.com/kmend/kmend/diagnose/agent/agentpb"
	"github.com/kmend/kmend/diagnose/agent/agentpb/agentpbconnect"
)

// maxRequestBytes bounds a request: a target and two durations.
const maxRequestBytes = 64 << 10

// NewHandler serves the agent over connect, gRPC and gRPC-Web. It does not check
// who asks: see Serve.
func NewHandler(a *Agent) http.Handler {
	_, h := agentpbconnect.NewAgentServiceHandler(service{a}, connect.WithReadMaxBytes(maxRequestBytes))
	return h
}

type service struct{ agent *Agent }

func (s service) Capabilities(ctx context.Context, r *connect.Request[agentpb.CapabilitiesRequest]) (*connect.Response[agentpb.CapabilitiesResponse], error) {
	if v := r.Msg.GetApiVersion(); v != 0 {
		if err := s.agent.speaks(v); err != nil {
			return nil, toConnect(err)
		}
	}
	c, err := s.agent.Capabilities(ctx)
	if err != nil {
		return nil, toConnect(err)
	}
	return connect.NewResponse(capabilitiesToWire(c)), nil
}

func (s service) Diagnose(ctx context.Context, r *connect.Request[agentpb.DiagnoseRequest], out *connect.ServerStream[agentpb.DiagnoseResponse]) error {
	if err := s.agent.speaks(r.Msg.GetApiVersion()); err != nil {
		return toConnect(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m, err := s.agent.Measure(ctx, requestFromWire(r.Msg), func(p Progress) {
		if err := out.Send(&agentpb.DiagnoseResponse{ApiVersion: APIVersion, Event: &agentpb.DiagnoseResponse_Progress{Progress: progressToWire(p)}}); err != nil {
			cancel(fmt.Errorf("sending progress: %w", err)) // nobody listens: do not measure for nobody
		}
	})
	if err != nil {
		return toConnect(err)
	}
	return out.Send(&agentpb.DiagnoseResponse{ApiVersion: APIVersion, Event: &agentpb.DiagnoseResponse_Measurement{Measurement: toWire(m)}})
}

// speaks refuses versions of the request that this agent does not know.
func (a *Agent) speaks(version uint32) error {
	if version >= minAPIVersion && version <= APIVersion {
		return nil
	}
	upgrade := "the agent"
	if version < minAPIVersion {
		upgrade = "kmend"
	}
	return refuse(ErrVersion, "the agent on node %s (version %s) speaks API version %d, and was asked in version %d: upgrade %s",
		a.node.Name, a.node.AgentVersion, APIVersion, version, upgrade)
}

// codes are the kinds of refusal on the wire. Each kind has a code of its own.
var codes = []struct {
	kind error
	code connect.Code
}{
	{ErrInvalid, connect.CodeInvalidArgument},
	{ErrNotFound, connect.CodeNotFound},
	{ErrBusy, connect.CodeResourceExhausted},
	{ErrUnsupported, connect.CodeFailedPrecondition},
	{ErrVersion, connect.CodeOutOfRange},
	{ErrUnauthenticated, connect.CodeUnauthenticated},
}

func toConnect(err error) error {
	for _, c := range codes {
		if errors.Is(err, c.kind) {
			return connect.NewError(c.code, err)
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

// fromConnect is the inverse of toConnect; what is no refusal stays as it is.
func fromConnect(err error) error {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok || !connect.IsWireError(err) {
		return err
	}
	for _, c := range codes {
		if ce.Code() == c.code {
			return &refusal{c.kind, ce.Message()}
		}
	}
	return err
}
