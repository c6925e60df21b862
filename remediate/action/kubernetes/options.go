package kubernetes

import (
	"fmt"
	"os"
	"time"
)

// Options configure the action. The zero value of a field means its default.
type Options struct {
	// Wait is how long the kubelet has for a resize before it is put back. Default: 30 s.
	Wait time.Duration
	// Poll is the time between two looks at the pod while waiting. Default: 100 ms, growing to 1 s.
	Poll time.Duration
	// FieldManager signs the changes in the pod's managed fields. Default: kmend.
	FieldManager string
	// Request bounds one request to the API server. Default: 10 s.
	Request time.Duration
	// Instance is this program's name in the events it writes. Default: the host name.
	Instance string
	// Namespaces are those of the targets. Default: all.
	Namespaces []string
	// Own is the namespace that kmend itself is in, whose ConfigMaps it does not change:
	// its policies and its configuration are there. Default: unknown.
	Own string
}

// DefaultOptions are the options for this machine.
func DefaultOptions() Options {
	o := Options{Wait: 30 * time.Second, Poll: 100 * time.Millisecond, Request: 10 * time.Second, FieldManager: "kmend", Instance: "kmend"}
	if host, err := os.Hostname(); err == nil {
		o.Instance = host
	}
	return o
}

func (o Options) withDefaults() (Options, error) {
	d := DefaultOptions()
	if o.Wait == 0 {
		o.Wait = d.Wait
	}
	if o.Poll == 0 {
		o.Poll = d.Poll
	}
	if o.Request == 0 {
		o.Request = d.Request
	}
	if o.FieldManager == "" {
		o.FieldManager = d.FieldManager
	}
	if o.Instance == "" {
		o.Instance = d.Instance
	}
	return o, o.validate()
}

func (o Options) validate() error {
	if o.Wait < time.Second || o.Wait > 10*time.Minute {
		return fmt.Errorf("kubernetes options: Wait is %s, must be 1s to 10m", o.Wait)
	}
	if o.Poll < 10*time.Millisecond || o.Poll > 10*time.Second {
		return fmt.Errorf("kubernetes options: Poll is %s, must be 10ms to 10s", o.Poll)
	}
	if o.Request < 100*time.Millisecond || o.Request > time.Minute {
		return fmt.Errorf("kubernetes options: Request is %s, must be 100ms to 1m", o.Request)
	}
	if len(o.FieldManager) > 128 {
		return fmt.Errorf("kubernetes options: FieldManager has %d characters, must be at most 128", len(o.FieldManager))
	}
	return nil
}
