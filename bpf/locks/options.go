package locks

import "fmt"

// Options sets the sizes of the probe's tables in the kernel.
type Options struct {
	MaxClasses int // locks and places that are told apart
	MaxWaiting int // threads that wait for a contended lock at the same time
	MaxHolders int // holders that are told apart
}

// DefaultOptions are 4096 classes, 16384 waiting threads and 2048 holders, about 7 MB
// of kernel memory.
func DefaultOptions() Options {
	return Options{MaxClasses: 4096, MaxWaiting: 16384, MaxHolders: 2048}
}

func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"MaxClasses", o.MaxClasses}, {"MaxWaiting", o.MaxWaiting}, {"MaxHolders", o.MaxHolders}} {
		if f.value < 16 || f.value > 1<<20 {
			return fmt.Errorf("locks.Options.%s is %d, allowed are 16 to %d", f.name, f.value, 1<<20)
		}
	}
	return nil
}
