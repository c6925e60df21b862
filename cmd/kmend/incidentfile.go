package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/kmend/kmend/incident"
)

// maxIncidentFile bounds a file of one incident.
const maxIncidentFile = 64 << 20

// wantIncident is what such a file is.
const wantIncident = "want an incident (kmend incidents show ID -o json) or a diagnosis (kmend diagnose -o json)"

// isFile tells a file from an incident's ID: it has a slash, ends in .json, or is there.
func isFile(name string) bool {
	if strings.Contains(name, "/") || strings.HasSuffix(name, ".json") {
		return true
	}
	_, err := os.Stat(name)
	return err == nil && name != ""
}

// checkIDOrFile is bad usage.
func checkIDOrFile(name string) error {
	if isFile(name) {
		return nil
	}
	if err := checkID(name); err != nil {
		return fmt.Errorf("%w; or give a file", err)
	}
	return nil
}

// incident reads a file, or asks the server for an ID.
func (r remote) incident(ctx context.Context, name string) (inc incident.Incident, err error) {
	if isFile(name) {
		return readIncident(name)
	}
	err = r.get(ctx, "/api/v1/incidents/"+name, &inc)
	return inc, err
}

// readIncident reads an incident, or a diagnosis and makes an incident around it.
func readIncident(path string) (incident.Incident, error) {
	text, err := readBounded(path)
	if err != nil {
		if p, ok := errors.AsType[*fs.PathError](err); ok {
			err = p.Err
		}
		return incident.Incident{}, fmt.Errorf("reading %s: %w", path, err)
	}
	f := incidentFile{path: path, text: text}
	var head struct {
		Kind      string           `json:"kind"`
		Diagnosis *json.RawMessage `json:"diagnosis"`
		ID        *json.RawMessage `json:"id"`
	}
	if err := f.decode(&head); err != nil {
		return incident.Incident{}, err
	}
	switch {
	case head.Kind == "Diagnosis":
		var d incident.Diagnosis
		if err := f.decode(&d); err != nil {
			return incident.Incident{}, err
		}
		return around(d), f.check(d)
	case head.Kind != "":
		return incident.Incident{}, f.errorf(f.offset("kind"), "kind is %q; %s", head.Kind, wantIncident)
	case head.ID == nil && head.Diagnosis == nil:
		return incident.Incident{}, f.errorf(0, "it has neither an id nor a diagnosis; %s", wantIncident)
	}
	var inc incident.Incident
	if err := f.decode(&inc); err != nil {
		return inc, err
	}
	if inc.Diagnosis == nil {
		return inc, nil
	}
	return inc, f.check(*inc.Diagnosis, "diagnosis")
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > maxIncidentFile {
		return nil, fmt.Errorf("%d bytes; at most %d are read", info.Size(), maxIncidentFile)
	}
	return os.ReadFile(path)
}

// around is an incident of which nothing but the diagnosis is known. Its alert has
// the labels that Kubernetes' alerts have for such a target.
func around(d incident.Diagnosis) incident.Incident {
	labels := map[string]string{"alertname": "Simulated"}
	for name, value := range map[string]string{
		"namespace": d.Target.Namespace, "pod": d.Target.Pod, "container": d.Target.Container, "node": d.Target.Node, "cgroup": d.Target.Cgroup,
	} {
		if value != "" {
			labels[name] = value
		}
	}
	return incident.Incident{
		ID: "simulated", Target: d.Target, Phase: incident.Diagnosing, Deliveries: 1, ReceivedAt: d.Window.Start, Diagnosis: &d,
		Alerts: []incident.Alert{{Fingerprint: "simulated", Status: incident.Firing, Labels: labels, StartsAt: d.Window.Start}},
	}
}
