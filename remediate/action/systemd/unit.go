package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/kmend/kmend/incident"
)

// manager is the service manager of this node.
type manager struct {
	*dbus.Conn
	opts Options
}

// connect dials systemd's own socket: root is let in, and no bus daemon has to run.
func connect(ctx context.Context, opts Options) (*manager, error) {
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) {
		c, err := godbus.Dial("unix:path="+opts.Socket, godbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := c.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("asking systemd: %s is not there: systemd does not run this machine, or kmend runs in a container without it", opts.Socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("asking systemd: %s answers root only: run kmend as root on this node", opts.Socket)
	case err != nil:
		return nil, fmt.Errorf("asking systemd at %s: %w", opts.Socket, err)
	}
	return &manager{conn, opts}, nil
}

// unitForm is what may be acted on: services and scopes. A slice is the limit of
// everything in it, and the other kinds have no processes.
var unitForm = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,240}\.(service|scope)$`)

// unit is a unit as it is now.
type unit struct {
	name, kind string // kind: Service or Scope, as D-Bus calls its interface
	props      map[string]any
}

func (u unit) text(property string) string {
	s, _ := u.props[property].(string)
	return s
}

// invocation is what systemd calls this run of the unit: a new one with each start.
func (u unit) invocation() string {
	id, _ := u.props["InvocationID"].([]byte)
	return fmt.Sprintf("%x", id)
}

// find is the unit of the target, if it may be acted on.
func (m *manager) find(ctx context.Context, t incident.Target) (unit, error) {
	if t.Node != "" && !incident.SameNode(t.Node, m.opts.Node) {
		return unit{}, fmt.Errorf("the target is on node %q and this is %q: units are changed on their own node only", t.Node, m.opts.Node)
	}
	if t.Pod != "" {
		return unit{}, fmt.Errorf("%s belongs to the kubelet; use an action of kubernetes", t)
	}
	name, err := m.name(ctx, t)
	if err != nil {
		return unit{}, err
	}
	u, err := m.read(ctx, name)
	if err == nil && u.text("ActiveState") != "active" {
		return unit{}, fmt.Errorf("unit %s is %s; want one that is active", u.name, u.text("ActiveState"))
	}
	return u, err
}

// name is what the target's unit is called.
func (m *manager) name(ctx context.Context, t incident.Target) (string, error) {
	switch {
	case t.Unit != "":
		return t.Unit, nil
	case t.Cgroup != "":
		return path.Base(t.Cgroup), m.owns(ctx, t.Cgroup)
	case t.PID > 0:
		name, err := m.GetUnitNameByPID(ctx, uint32(t.PID))
		if err != nil {
			return "", fmt.Errorf("asking systemd for the unit of pid %d: %w", t.PID, err)
		}
		return name, nil
	}
	return "", fmt.Errorf("the target (%s) names no unit, cgroup or process", t)
}

// owns checks that a cgroup's directory is that of the unit of its name.
func (m *manager) owns(ctx context.Context, dir string) error {
	u, err := m.read(ctx, path.Base(dir))
	if err != nil {
		return err
	}
	if group := u.text("ControlGroup"); group == "" || !strings.HasSuffix(path.Clean(dir), group) {
		return fmt.Errorf("cgroup %s is not that of unit %s, which is %q", dir, u.name, group)
	}
	return nil
}

// read asks for everything about a unit.
func (m *manager) read(ctx context.Context, name string) (unit, error) {
	if !unitForm.MatchString(name) {
		return unit{}, fmt.Errorf("%q is not a unit that can be acted on; want the name of a service or scope, such as checkout.service", name)
	}
	for _, pattern := range m.opts.Never {
		if match, _ := path.Match(pattern, name); match {
			return unit{}, fmt.Errorf("unit %s is never acted on (%s): the machine needs it to be reached and repaired", name, pattern)
		}
	}
	u := unit{name: name, kind: "Service"}
	if strings.HasSuffix(name, ".scope") {
		u.kind = "Scope"
	}
	var err error
	if u.props, err = m.GetUnitPropertiesContext(ctx, name); err != nil {
		return unit{}, fmt.Errorf("asking systemd for unit %s: %w", name, err)
	}
	if state := u.text("LoadState"); state != "loaded" {
		return unit{}, fmt.Errorf("unit %s is %s; want one that is loaded", name, state)
	}
	if id := u.text("Id"); id != name {
		return m.read(ctx, id) // name was an alias
	}
	more, err := m.GetUnitTypePropertiesContext(ctx, name, u.kind)
	if err != nil {
		return unit{}, fmt.Errorf("asking systemd for unit %s: %w", name, err)
	}
	for k, v := range more {
		u.props[k] = v
	}
	return u, nil
}
