package postgres

import (
	"errors"
	"fmt"
	"math"

	"github.com/kmend/kmend/bpf/probe"
	"github.com/kmend/kmend/bpf/usdt"
)

// Options sets the sizes of the probe's tables.
type Options struct {
	// MaxWaits bounds the backends that wait at once, and the combinations of
	// backend, lock type and mode in a window; more are lost, and counted.
	MaxWaits int
	// MaxBackends bounds the processes whose memory is read.
	MaxBackends int
}

// DefaultOptions are sizes for a server with a thousand connections.
func DefaultOptions() Options { return Options{MaxWaits: 4096, MaxBackends: 1024} }

func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxWaits", o.MaxWaits}, {"MaxBackends", o.MaxBackends}} {
		if f.value < 16 || f.value > 1<<20 {
			return fmt.Errorf("postgres.Options.%s is %d, allowed are 16 to %d", f.name, f.value, 1<<20)
		}
	}
	return nil
}

// Supported reports whether the probe can run here: nil, or a *probe.UnsupportedError.
func Supported() error { return probe.Supported("postgres") }

// Probe is the loaded program, attached to nothing outside of a window.
type Probe struct {
	o        Options
	objs     postgresObjects
	attacher *usdt.Attacher
}

// Load loads the programs; waits of the members of the target are recorded. The
// error may be a *probe.UnsupportedError.
func Load(o Options, m *probe.Members) (*Probe, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	spec, err := loadPostgres()
	if err != nil {
		return nil, fmt.Errorf("reading the probe's object: %w", err)
	}
	for _, name := range []string{postgresMapOpenWaits, postgresMapWaits} {
		spec.Maps[name].MaxEntries = uint32(o.MaxWaits)
	}
	prog := spec.Programs[postgresProgOnLockWait]
	usdt.Prepare(prog)
	p := &Probe{o: o}
	if err := m.Load(spec, &p.objs, "postgres"); err != nil {
		return nil, err
	}
	p.attacher = usdt.NewAttacher(prog, p.objs.OnLockWait, p.objs.UsdtSpecs)
	return p, nil
}

// Close unloads the programs.
func (p *Probe) Close() error { return p.objs.Close() }

// reset empties what the last window left. Nothing is attached yet.
func (p *Probe) reset() error {
	return errors.Join(
		p.objs.WindowStart.Set(uint64(math.MaxUint64)),
		p.objs.WindowEnd.Set(uint64(math.MaxUint64)),
		p.objs.Lost.Set(uint64(0)),
		probe.ClearMap[uint32](p.objs.OpenWaits),
		probe.ClearMap[postgresWaitKey](p.objs.Waits),
	)
}

// points in the order that on_lock_wait of postgres.bpf.c knows.
func points() []usdt.Point {
	return []usdt.Point{{Provider: "postgresql", Name: "lock__wait__start", Arguments: 6}, {Provider: "postgresql", Name: "lock__wait__done", Arguments: 6}}
}

// attach hooks the tracepoints of every program that the backends run. unprobed
// says why one has none.
func (p *Probe) attach(s *scene) (unprobed string, err error) {
	for _, srv := range s.servers {
		err := p.attacher.Attach(srv.file, srv.object, points()...)
		switch {
		case errors.Is(err, usdt.ErrNoProbe):
			unprobed = "PostgreSQL was built without --enable-dtrace"
		case err != nil:
			return "", err
		}
	}
	return unprobed, nil
}
