package logs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kmend/kmend/incident"
)

// Store is where log lines are kept.
type Store interface {
	Name() string // "loki"
	// Lines are the latest lines of a target in [From, To), at most Limit of them.
	// ErrNotAsked, wrapped, is for a target that has no lines of its own.
	Lines(ctx context.Context, q Query) (Batch, error)
}

// Query is what is asked of a store.
type Query struct {
	Target   incident.Target
	From, To time.Time
	Limit    int
	// Trouble leaves out what names no trouble, where there is too much to read.
	Trouble bool
}

// Batch are the lines that a store gave.
type Batch struct {
	Lines []Line
	// Cut: there may be more, or a part of the store did not answer.
	Cut bool
	// Note says why it is cut where it is not the limit.
	Note string
}

// Line is one log line.
type Line struct {
	ID    string // what is not there twice
	Text  string
	Level string // as the store says it; "" where it does not
}

// ErrNotAsked: the target cannot be told by its labels or fields.
var ErrNotAsked = errors.New("not asked")

// troubles are the words that a query for trouble looks for, whatever their case.
var troubles = []string{
	"error", "fatal", "panic", "critical", "exception", "traceback", "fail", "failed", "failure", "outofmemoryerror", "out of memory", "killed", "oom",
	"timeout", "timed out", "deadline", "refused", "reset", "broken pipe", "deadlock", "lock", "waiting", "slow", "fsync", "pause", "terminated", "denied",
}

// Fields are the names under which a store has what tells a target: labels of
// Loki, fields of Elasticsearch. What has no name is not asked for.
type Fields struct{ Cluster, Namespace, Pod, Container, Node, Unit string }

// term is one condition.
type term struct{ name, value string }

// terms tell a target: a pod by its namespace and name, a unit by its name and node.
func (f Fields) terms(t incident.Target) ([]term, error) {
	var all []term
	unit := t.Unit
	if unit == "" && t.Pod == "" {
		unit = unitOf(t.Cgroup)
	}
	switch {
	case t.Pod != "" && (f.Pod == "" || f.Namespace == ""):
		return nil, fmt.Errorf("%w: it has no names for the namespace and the pod", ErrNotAsked)
	case t.Pod != "" && t.Namespace == "":
		return nil, fmt.Errorf("%w: the pod's namespace is not known", ErrNotAsked)
	case t.Pod != "":
		all = []term{{f.Namespace, t.Namespace}, {f.Pod, t.Pod}, {f.Container, t.Container}, {f.Cluster, t.Cluster}}
	case unit != "" && f.Unit != "" && f.Node == "" && t.Node != "":
		return nil, fmt.Errorf("%w: it has no name for the node, and the same unit of all nodes would be read; set labels.node or fields.node", ErrNotAsked)
	case unit != "" && f.Unit != "":
		all = []term{{f.Unit, unit}, {f.Node, t.Node}, {f.Cluster, t.Cluster}}
	default:
		return nil, fmt.Errorf("%w: %s is neither a pod nor a systemd unit", ErrNotAsked, t)
	}
	var named []term
	for _, x := range all {
		if x.name == "" || x.value == "" {
			continue
		}
		if !isName(x.value) {
			return nil, fmt.Errorf("%w: %.60q is no name", ErrNotAsked, x.value)
		}
		named = append(named, x)
	}
	return named, nil
}

// isName is what may stand in a query, where it is quoted all the same.
func isName(s string) bool {
	return len(s) <= 253 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == '"' })
}

// unitOf is the service that a cgroup is, as systemd names them.
func unitOf(cgroup string) string {
	if base := path.Base(cgroup); strings.HasSuffix(base, ".service") {
		return base
	}
	return ""
}
