package threads

import "fmt"

// Options sets the sizes of the probe's tables in the kernel.
type Options struct {
	// MaxEnded bounds the threads that ended inside the window and are reported
	// one by one; more only lose that detail and are summed up in Result.Ended.
	MaxEnded int
	// MaxGroups bounds the task groups in Result.Holders (the rest is one holder
	// with CgroupID 0), and those in Result.Ended (the rest is lost).
	MaxGroups int
}

// DefaultOptions are sizes for a node of some thousand cgroups: 4096 ended
// threads, 4096 groups.
func DefaultOptions() Options { return Options{MaxEnded: 4096, MaxGroups: 4096} }

func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxEnded", o.MaxEnded}, {"MaxGroups", o.MaxGroups}} {
		if f.value < 16 || f.value > 1<<20 {
			return fmt.Errorf("threads.Options.%s is %d, allowed are 16 to %d", f.name, f.value, 1<<20)
		}
	}
	return nil
}
