package systemd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// SetPropertyName is what runbooks write for SetProperty.
const SetPropertyName = "systemd.set_property"

// PropertyParams are the parameters of systemd.set_property.
type PropertyParams struct {
	Property   string  `json:"property" jsonschema:"enum=CPUQuota,enum=MemoryHigh,enum=MemoryMax" jsonschema_description:"Which limit of the target's unit is raised."`
	Factor     float64 `json:"factor,omitempty" jsonschema:"default=2,exclusiveMinimum=1,maximum=10" jsonschema_description:"The new limit is the present one times this."`
	Max        Amount  `json:"max" jsonschema_description:"Never over this: of CPUQuota a number of CPUs (2 or 500m), of MemoryHigh and MemoryMax bytes (512M or 2G)."`
	Persistent bool    `json:"persistent,omitempty" jsonschema_description:"Write it to /etc, so that it outlasts a reboot. Default false: until the next reboot."`
}

// SetProperty is the action systemd.set_property.
type SetProperty struct{ opts Options }

var _ action.Action = (*SetProperty)(nil)

// NewSetProperty makes the action for this node.
func NewSetProperty(opts Options) (*SetProperty, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &SetProperty{opts}, nil
}

// Name is systemd.set_property.
func (*SetProperty) Name() string { return SetPropertyName }

// Params is *PropertyParams.
func (*SetProperty) Params() any { return &PropertyParams{} }

// Preview reads the unit's limit and computes the new one: present x factor, at
// most max and what the machine has. It is an error when there is nothing to raise.
func (a *SetProperty) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	var p PropertyParams
	if err := action.Decode(with, &p); err != nil {
		return incident.Preview{}, err
	}
	prop, err := propertyOf(p.Property)
	if err != nil {
		return incident.Preview{}, err
	}
	factor, err := action.Factor(p.Factor)
	if err != nil {
		return incident.Preview{}, err
	}
	most, err := prop.parse(p.Max)
	if err != nil {
		return incident.Preview{}, fmt.Errorf("with.max: %w", err)
	}
	m, err := connect(ctx, a.opts)
	if err != nil {
		return incident.Preview{}, err
	}
	defer m.Close()
	u, err := m.find(ctx, target)
	if err != nil {
		return incident.Preview{}, err
	}
	now, err := u.limit(prop)
	if err != nil {
		return incident.Preview{}, err
	}
	wanted, err := prop.raise(u.name, p.Property, now, factor, most, a.opts)
	if err != nil {
		return incident.Preview{}, err
	}
	how := "until the next reboot"
	if p.Persistent {
		how = "for good"
	}
	return incident.Preview{
		Summary: fmt.Sprintf("raise %s of unit %s from %s to %s, %s", p.Property, u.name, prop.show(now), prop.show(wanted), how),
		Before:  prop.show(now), After: prop.show(wanted), Server: "systemd read",
		Preconditions: map[string]string{"unit": u.name, "fragment": u.text("FragmentPath"), p.Property: utoa(now)},
		Apply:         map[string]string{"unit": u.name, "property": p.Property, "value": utoa(wanted), "was": utoa(now), "persistent": strconv.FormatBool(p.Persistent)},
	}, nil
}

// raise is the new limit.
func (p property) raise(unit, name string, now uint64, factor float64, most uint64, o Options) (uint64, error) {
	if now == infinity || now == 0 {
		return 0, fmt.Errorf("unit %s has no %s: nothing to raise", unit, name)
	}
	bound, of := p.bound(o)
	wanted := min(uint64(float64(now)*factor), most, bound)
	switch {
	case now >= bound:
		return 0, fmt.Errorf("%s of unit %s is %s already, which is all of %s", name, unit, p.show(now), of)
	case wanted <= now:
		return 0, fmt.Errorf("%s of unit %s is %s already; with.max is %s", name, unit, p.show(now), p.show(most))
	}
	return wanted, nil
}

// Apply sets the limit that Preview computed, unless it is set already. The unit
// must still be the target's, and its limit what Preview read.
func (a *SetProperty) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	if step.Preview == nil {
		return incident.Execution{}, errors.New("the step was never previewed")
	}
	s := step.Preview.Apply
	c, err := parseChange(s)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading the preview: %w", err)
	}
	m, err := connect(ctx, a.opts)
	if err != nil {
		return incident.Execution{}, err
	}
	defer m.Close()
	u, err := m.find(ctx, target)
	if err != nil {
		return incident.Execution{}, err
	}
	now, err := u.limit(c.prop)
	if err != nil {
		return incident.Execution{}, err
	}
	pre := step.Preview.Preconditions
	if u.name != pre["unit"] || u.text("FragmentPath") != pre["fragment"] {
		return incident.Execution{}, fmt.Errorf("the target's unit is %s of %q now and was %s of %q in the plan; nothing was changed", u.name, u.text("FragmentPath"), pre["unit"], pre["fragment"])
	}
	done := incident.Execution{Before: c.prop.show(c.was), After: c.prop.show(c.value), Result: "already applied", State: s}
	switch now {
	case c.value:
		return done, nil
	case c.was:
	default:
		return incident.Execution{}, fmt.Errorf("%s of unit %s is %s now and was %s in the plan; nothing was changed", s["property"], u.name, c.prop.show(now), c.prop.show(c.was))
	}
	done.Result = "applied"
	if err := m.set(ctx, u.name, c, c.value); err != nil {
		return done, err // what stays is unknown: Undo looks again
	}
	return done, nil
}

// Undo sets the limit back to what Apply found, if it is still what Apply set. A
// unit that has ended is set back as well, as systemd keeps its limits.
func (a *SetProperty) Undo(ctx context.Context, target incident.Target, _ incident.Step, done incident.Execution) (incident.Execution, error) {
	c, err := parseChange(done.State)
	if err != nil {
		return incident.Execution{}, fmt.Errorf("reading what was done: %w", err)
	}
	name := done.State["unit"]
	if target.Node != "" && !incident.SameNode(target.Node, a.opts.Node) {
		return incident.Execution{}, fmt.Errorf("unit %s is on node %q and this is %q", name, target.Node, a.opts.Node)
	}
	m, err := connect(ctx, a.opts)
	if err != nil {
		return incident.Execution{}, err
	}
	defer m.Close()
	u, err := m.read(ctx, name)
	if err != nil {
		return incident.Execution{}, err
	}
	now, err := u.limit(c.prop)
	if err != nil {
		return incident.Execution{}, err
	}
	out := incident.Execution{Before: c.prop.show(c.value), After: c.prop.show(c.was), Result: "undone"}
	switch now {
	case c.was:
		return out, nil
	case c.value:
		return out, m.set(ctx, name, c, c.was)
	}
	return incident.Execution{}, fmt.Errorf("%s of unit %s is %s now and kmend had set %s; somebody changed it since, so it stays",
		done.State["property"], name, c.prop.show(now), c.prop.show(c.value))
}

// change is one that was previewed.
type change struct {
	prop       property
	value, was uint64
	runtime    bool
}

func parseChange(s map[string]string) (c change, err error) {
	if c.prop, err = propertyOf(s["property"]); err != nil {
		return c, err
	}
	var errs [3]error
	var persistent bool
	c.value, errs[0] = strconv.ParseUint(s["value"], 10, 64)
	c.was, errs[1] = strconv.ParseUint(s["was"], 10, 64)
	persistent, errs[2] = strconv.ParseBool(s["persistent"])
	c.runtime = !persistent
	return c, errors.Join(errs[:]...)
}

// limit is what a property of the unit says.
func (u unit) limit(p property) (uint64, error) {
	v, ok := u.props[p.dbus].(uint64)
	if !ok {
		return 0, fmt.Errorf("systemd says no %s of unit %s", p.dbus, u.name)
	}
	return v, nil
}

// set changes the limit and reads it back.
func (m *manager) set(ctx context.Context, name string, c change, value uint64) error {
	if err := m.SetUnitPropertiesContext(ctx, name, c.runtime, dbus.Property{Name: c.prop.dbus, Value: godbus.MakeVariant(value)}); err != nil {
		return fmt.Errorf("setting %s of unit %s: %w", c.prop.dbus, name, err)
	}
	u, err := m.read(ctx, name)
	if err != nil {
		return err
	}
	if now, err := u.limit(c.prop); err != nil || now != value {
		return errors.Join(err, fmt.Errorf("setting %s of unit %s: it is %s after %s was set", c.prop.dbus, name, c.prop.show(now), c.prop.show(value)))
	}
	return nil
}

func utoa(v uint64) string { return strconv.FormatUint(v, 10) }
