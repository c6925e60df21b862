package agent

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/diagnose/agent/agentpb"
	"github.com/kmend/kmend/incident"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// text compares what JSON shows: no difference between nil and empty.
func text(t *rapid.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("null", "[]", "{}", "[]").Replace(string(b))
}

// overTheWire marshals and unmarshals.
func overTheWire[M proto.Message](t *rapid.T, m, empty M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, empty); err != nil {
		t.Fatal(err)
	}
	return empty
}

// Every field of the nouns arrives, also those that are added later: the
// generator finds them by reflection.
func TestWireRoundTrip(t *testing.T) {
	times := rapid.Map(rapid.Int64Range(-1e9, 4e9), func(s int64) time.Time { return time.Unix(s, s%1000*1000).UTC() })
	windows := rapid.Map(rapid.Int64Range(0, 1e12), func(ns int64) time.Duration { return time.Duration(ns) })
	conf := rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[time.Time]():         times.AsAny(),
		reflect.TypeFor[time.Duration]():     windows.AsAny(),
		reflect.TypeFor[incident.Duration](): rapid.Map(windows, func(d time.Duration) incident.Duration { return incident.Duration(d) }).AsAny(),
		reflect.TypeFor[float64]():           rapid.Float64Range(-1e9, 1e9).AsAny(),
		reflect.TypeFor[int]():               rapid.IntRange(0, 1<<31).AsAny(),
	}}
	measurements := rapid.MakeCustom[incident.Measurement](conf)
	requests := rapid.MakeCustom[Request](conf)
	steps := rapid.MakeCustom[Progress](conf)
	capabilities := rapid.MakeCustom[Capabilities](conf)
	rapid.Check(t, func(t *rapid.T) {
		same := func(in, out any) {
			if a, b := text(t, in), text(t, out); a != b {
				t.Fatalf("sent %s\ngot  %s", a, b)
			}
		}
		m := measurements.Draw(t, "measurement")
		same(m, fromWire(overTheWire(t, toWire(m), &agentpb.Measurement{})))
		r := requests.Draw(t, "request")
		same(r, requestFromWire(overTheWire(t, requestToWire(r), &agentpb.DiagnoseRequest{})))
		p := steps.Draw(t, "progress")
		same(p, progressFromWire(overTheWire(t, progressToWire(p), &agentpb.Progress{})))
		c := capabilities.Draw(t, "capabilities")
		same(c, capabilitiesFromWire(overTheWire(t, capabilitiesToWire(c), &agentpb.CapabilitiesResponse{})))
	})
	if empty := fromWire(nil); empty.Target != (incident.Target{}) || !empty.Window.Start.IsZero() {
		t.Errorf("a message with nothing in it is %+v", empty)
	}
}
