package recorder

import "fmt"

// Options sets the sizes of the recorder's tables in the kernel.
type Options struct {
	// MaxGroups bounds the task groups of the node that are there at once, 200
	// bytes each, in kernel memory that is never paged out.
	MaxGroups int
}

// DefaultOptions are for nodes of up to 4096 cgroups with the cpu controller
// (800 KiB).
func DefaultOptions() Options { return Options{MaxGroups: 4096} }

func (o Options) validate() error {
	if o.MaxGroups < 16 || o.MaxGroups > 1<<16 {
		return fmt.Errorf("recorder.Options.MaxGroups is %d, allowed are 16 to %d", o.MaxGroups, 1<<16)
	}
	return nil
}
