package main

// kernelTrial has victims whose system calls contend for a lock of the kernel.
func kernelTrial(name string, leastMS float64, line func(*bed) []string) trial {
	return trial{name: "kernel/" + name, expect: kernelLock, make: func(b *bed) fault {
		g := b.group("a")
		p := g.victim(spawn{}, line(b))
		return fault{target: g, proof: []meter{own(p, "in system calls", leastMS)}}
	}}
}

// convoyTrial has threads that queue for a lock of their own.
func convoyTrial(name string, leastMS float64, line func(*bed) []string) trial {
	return trial{name: "convoy/" + name, expect: userLock, make: func(b *bed) fault {
		g := b.group("a")
		p := g.victim(spawn{}, line(b))
		return fault{target: g, proof: []meter{own(p, "waited for the lock", leastMS)}}
	}}
}

func lockTrials() []trial {
	space := func(args ...string) func(*bed) []string {
		return func(b *bed) []string { return b.c("space", args...) }
	}
	guard := func(args ...string) func(*bed) []string {
		return func(b *bed) []string { return b.c("guard", args...) }
	}
	return []trial{
		kernelTrial("c, mmap lock, just over", 800, space("threads=2", "mb=64", "off=1000", "on=300")),
		kernelTrial("c, mmap lock, strong", 6000, space("threads=8", "mb=512")),
		kernelTrial("c, mmap lock, bursty", 1000, space("threads=6", "mb=512", "off=40000")),
		// Creating a file waits for who reads the folder.
		{name: "kernel/c, a folder, 5 processes", expect: kernelLock, make: func(b *bed) fault {
			g, d := b.group("a"), b.disk(256)
			p := g.victim(spawn{}, b.c("folder", kv("dir", d.dir), "procs=5", "list=1"))
			return fault{target: g, proof: []meter{own(p, "waited to make a file", 2000)}}
		}},
		// Appending with O_DIRECT holds the inode's lock over the write: one thread
		// waits for the disk and two for the lock.
		{name: "kernel/c, appending to one file", expect: kernelLock, with: []string{diskSlow}, make: func(b *bed) fault {
			g, d := b.group("a"), b.disk(256)
			g.throttle(d.number, 50, 50)
			p := g.victim(spawn{}, b.c("block", kv("dir", d.dir), "kind=grow", "threads=3"))
			return fault{target: g, proof: []meter{own(p, "waited to append", 5000)}}
		}},

		convoyTrial("c, just over", 1000, guard("threads=2", "hold=4000", "off=3000", "own=500")),
		convoyTrial("c, strong", 15000, guard("threads=8", "hold=5000")),
		convoyTrial("c, computing inside", 5000, guard("threads=4", "hold=2000", "busy=1")),
		convoyTrial("c, 4 processes", 5000, guard("procs=4", "threads=1", "hold=5000")),
		convoyTrial("c, short-lived threads", 3000, guard("kind=brief", "threads=4", "hold=4000")),
		convoyTrial("c, bursty", 1000, guard("threads=6", "hold=5000", "beat=100000")),
		convoyTrial("c, rwlock", 3000, guard("kind=rwlock", "threads=6", "writers=3", "hold=4000")),
		convoyTrial("sqlite, one connection, 4 threads", 4000, func(b *bed) []string { return b.c("rows", "threads=4", "rows=5000") }),
		convoyTrial("python, threading.Lock", 5000, func(b *bed) []string { return b.python("guard", "threads=4", "hold=5000") }),
		convoyTrial("java, a monitor", 5000, func(b *bed) []string {
			return b.java([]string{"-XX:+UseSerialGC", "-Xmx64m"}, "guard", "threads=4", "hold=5000")
		}),
		convoyTrial("java, ReentrantLock", 5000, func(b *bed) []string {
			return b.java([]string{"-XX:+UseSerialGC", "-Xmx64m"}, "guard", "threads=4", "hold=5000", "kind=r")
		}),
		// Four threads of Python want to compute: one has the interpreter's lock and
		// three wait for it. More CPUs would not help, so it is the lock.
		{name: "convoy/python, the interpreter's lock", expect: userLock, make: func(b *bed) fault {
			g := b.group("a")
			p := g.victim(spawn{}, b.python("work", "threads=4", "on=100000"))
			return fault{target: g, proof: []meter{cpuMS(p, 2000)}}
		}},
	}
}
