package app

import (
	"github.com/kmend/kmend/diagnose/investigate"
)

// investigator joins the sources beside the kernel that are configured.
func (a *App) investigator() (*investigate.Investigator, error) {
	o := investigate.DefaultOptions()
	o.Logger = a.log
	t := a.config.Traces
	o.Before, o.ServiceLabels, o.Depth = t.Window.D(), t.ServiceLabels, t.Depth
	tracers, absent, err := t.tracers()
	if err != nil {
		return nil, err
	}
	o.Tracers, o.Absent = tracers, append(o.Absent, absent...)
	// A tracer has a time limit of its own, for all that it asks.
	o.SourceTimeout = max(o.SourceTimeout, t.Timeout.D())
	observers, unlogged, err := a.logs()
	if err != nil {
		return nil, err
	}
	o.Observers, o.Absent = append(o.Observers, observers...), append(o.Absent, unlogged...)
	return investigate.New(o)
}
