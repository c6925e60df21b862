package redis

import (
	"fmt"
	"time"
)

// Options configure the actions. The zero value of a field means its default.
type Options struct {
	// Wait is how long a failover may take until the new master serves and the old
	// one replicates from it. Default: 60 s. Sentinel needs about 10 s of it.
	Wait time.Duration
	// Poll is the time between two looks while waiting. Default: 250 ms.
	Poll time.Duration
}

// DefaultOptions are the options for any machine.
func DefaultOptions() Options { return Options{Wait: time.Minute, Poll: 250 * time.Millisecond} }

func (o Options) withDefaults() (Options, error) {
	d := DefaultOptions()
	if o.Wait == 0 {
		o.Wait = d.Wait
	}
	if o.Poll == 0 {
		o.Poll = d.Poll
	}
	return o, o.validate()
}

func (o Options) validate() error {
	if o.Wait < time.Second || o.Wait > 10*time.Minute {
		return fmt.Errorf("redis options: Wait is %s, must be 1s to 10m", o.Wait)
	}
	if o.Poll < 10*time.Millisecond || o.Poll > 10*time.Second {
		return fmt.Errorf("redis options: Poll is %s, must be 10ms to 10s", o.Poll)
	}
	return nil
}
