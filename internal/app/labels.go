package app

import (
	"fmt"
	"regexp"

	"github.com/kmend/kmend/diagnose"
	"github.com/kmend/kmend/incident"
)

// kinds are the lists of labels that name workloads, by kind, in the order in which
// they are looked at.
func (l *Labels) kinds() []struct {
	kind, field string
	labels      *[]string
} {
	return []struct {
		kind, field string
		labels      *[]string
	}{
		{"Deployment", "deployment", &l.Deployment},
		{"StatefulSet", "statefulSet", &l.StatefulSet},
		{"DaemonSet", "daemonSet", &l.DaemonSet},
		{"ReplicaSet", "replicaSet", &l.ReplicaSet},
		{"Job", "job", &l.Job},
		{"CronJob", "cronJob", &l.CronJob},
	}
}

// defaultLabels are the mapping's.
func defaultLabels(m diagnose.Mapping) Labels {
	l := Labels{Namespace: m.Namespace, Pod: m.Pod, Container: m.Container, Node: m.Node, Cgroup: m.Cgroup, PID: m.PID, Unit: m.Unit, Service: m.Service, SLO: m.SLO, Exporters: m.Exporters}
	for _, k := range l.kinds() {
		for _, w := range m.Workloads {
			if w.Kind == k.kind {
				*k.labels = w.Labels
			}
		}
	}
	return l
}

// mapping is the label mapping that the configuration asks for.
func (c Config) mapping() diagnose.Mapping {
	l := c.Diagnose.Labels
	m := diagnose.Mapping{Cluster: c.Cluster, Namespace: l.Namespace, Pod: l.Pod, Container: l.Container, Node: l.Node, Cgroup: l.Cgroup, PID: l.PID, Unit: l.Unit,
		Service: l.Service, SLO: l.SLO, SLOs: map[string]incident.Target{}, Exporters: l.Exporters}
	for _, k := range l.kinds() {
		m.Workloads = append(m.Workloads, diagnose.WorkloadLabels{Kind: k.kind, Labels: *k.labels})
	}
	for _, s := range c.SLOs {
		m.SLOs[s.Name] = s.target()
	}
	return m
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (c Config) checkLabels(k *checker) {
	l := c.Diagnose.Labels
	check := func(field string, labels []string) {
		for i, name := range labels {
			if !labelName.MatchString(name) {
				k.at(fmt.Sprintf("diagnose.labels.%s.%d", field, i), "diagnose.labels.%s[%d] is %q; want a label name: letters, digits and _", field, i, name)
			}
		}
	}
	for _, list := range []struct {
		field  string
		labels []string
	}{{"namespace", l.Namespace}, {"pod", l.Pod}, {"container", l.Container}, {"node", l.Node}, {"cgroup", l.Cgroup}, {"pid", l.PID}, {"unit", l.Unit}, {"service", l.Service}, {"slo", l.SLO}} {
		check(list.field, list.labels)
	}
	for _, kind := range l.kinds() {
		check(kind.field, *kind.labels)
	}
}
