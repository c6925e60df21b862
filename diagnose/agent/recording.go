package agent

import (
	"cmp"

	bpf "github.com/kmend/kmend/bpf/recorder"
	"github.com/kmend/kmend/diagnose/agent/cgroups"
	"github.com/kmend/kmend/diagnose/agent/recorder"
	"github.com/kmend/kmend/incident"
)

// WithRecorder starts the flight recorder and gives o with it. Where this node
// cannot record, it is nil and o says why to whoever asks about the past. The
// caller runs it, and closes it after the agent.
func WithRecorder(o Options, ro recorder.Options) (Options, *recorder.Recorder, error) {
	node, err := cgroups.Open(o.Proc)
	if err != nil {
		o.NoRecorder = err.Error()
		return o, nil, err
	}
	if cpu, ok := node.CPU(); ok {
		ro.Dir = cpu.Dir
	}
	ro.Logger, ro.Proc = o.Logger, o.Proc
	rec, err := recorder.New(ro)
	if err != nil {
		o.NoRecorder = err.Error()
		return o, nil, err
	}
	o.Recorder = rec
	return o, rec, nil
}

// recorderStatus is the recorder among the probes.
func (a *Agent) recorderStatus() incident.ProbeStatus {
	p := probeStatus("recorder", bpf.Supported())
	if a.o.Recorder == nil && p.Status == incident.ProbeOK {
		p.Reason = cmp.Or(a.o.NoRecorder, "not running")
	}
	return p
}
