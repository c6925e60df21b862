package futex

import "fmt"

// Options sets the sizes of the probe's tables in the kernel.
type Options struct {
	// MaxWaits bounds the futex addresses, the threads at them, and the threads that
	// wait at the same time.
	MaxWaits  int
	MaxStacks int // recorded stacks, 8.7 KB each
}

// DefaultOptions are 16384 and 256, about 9 MB of kernel memory.
func DefaultOptions() Options { return Options{MaxWaits: 16384, MaxStacks: 256} }

func (o Options) validate() error {
	for _, f := range []struct {
		name  string
		value int
		most  int
	}{{"MaxWaits", o.MaxWaits, 1 << 20}, {"MaxStacks", o.MaxStacks, 4096}} {
		if f.value < 16 || f.value > f.most {
			return fmt.Errorf("futex.Options.%s is %d, allowed are 16 to %d", f.name, f.value, f.most)
		}
	}
	return nil
}
