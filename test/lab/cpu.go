package main

// victim starts a victim in the group.
func (g *group) victim(how spawn, line []string) *proc {
	how.ready = true
	return g.start(how, line...)
}

// A quota that is used up; kinds is what runs below it.
func quotaTrial(name string, cpus, leastMS float64, line func(*bed) []string) trial {
	return trial{name: "quota/" + name, expect: throttled, make: func(b *bed) fault {
		g := b.group("a").cpus(cpus)
		g.victim(spawn{}, line(b))
		return fault{target: g, proof: []meter{throttledMS(g, leastMS)}}
	}}
}

// Others hold the CPUs: a neighbour with a weight, beside the target on one CPU
// (so that nothing can be moved away) or on all of them.
func crowdTrial(name string, neighbour float64, all bool, line func(*bed) []string) trial {
	return trial{name: "crowd/" + name, expect: saturated, make: func(b *bed) fault {
		g, other := b.group("a").weight(4), b.group("b").weight(4*neighbour)
		how := spawn{cpus: []int{1}}
		if all {
			how.cpus = nil
		}
		other.victim(how, b.c("spin", kv("threads", 4)))
		p := g.victim(how, line(b))
		return fault{target: g, proof: []meter{waitedMS(p, 300)}}
	}}
}

// ownTrial is a target that wants all the CPU it can get, and gets it.
func ownTrial(name string, leastMS float64, line func(*bed) []string) trial {
	return trial{name: "own/" + name, expect: busy, make: func(b *bed) fault {
		g := b.group("a")
		p := g.victim(spawn{}, line(b))
		return fault{target: g, proof: []meter{cpuMS(p, leastMS)}}
	}}
}

func spins(args ...string) func(*bed) []string {
	return func(b *bed) []string { return b.c("spin", args...) }
}

func cpuTrials() []trial {
	storm := func(args ...string) func(*bed) []string {
		return func(b *bed) []string { return b.c("storm", args...) }
	}
	python := func(args ...string) func(*bed) []string {
		return func(b *bed) []string { return b.python("work", args...) }
	}
	java := func(args ...string) func(*bed) []string {
		return func(b *bed) []string { return b.java([]string{"-XX:+UseSerialGC"}, "work", args...) }
	}
	golang := func(args ...string) func(*bed) []string {
		return func(b *bed) []string { return b.golang("work", args...) }
	}
	return []trial{
		quotaTrial("c, just over", 0.88, 100, spins()),
		quotaTrial("c, strong", 0.2, 1500, spins()),
		quotaTrial("c, 4 threads", 0.5, 1500, spins("threads=4")),
		quotaTrial("c, 4 processes", 1.0, 1000, spins("procs=4")),
		quotaTrial("c, bursts of 2 threads", 0.4, 300, spins("threads=2", "on=30000", "off=70000")),
		quotaTrial("c, fork storm", 0.3, 1500, storm("lanes=2", "on=2000")),
		quotaTrial("go, 8 workers", 0.5, 1500, golang("-workers", "8")),
		quotaTrial("python", 0.3, 1500, python()),
		quotaTrial("python, short-lived processes", 0.4, 1000, python("spawn=1")),
		quotaTrial("java, 4 threads", 0.6, 1500, java("threads=4")),
		{name: "quota/of the group above", expect: throttled, make: func(b *bed) fault {
			above := b.group("a").cpus(0.4)
			g := b.group("a/c")
			g.victim(spawn{}, b.c("spin", "threads=2"))
			return fault{target: g, proof: []meter{throttledMS(above, 1500)}}
		}},

		crowdTrial("c, just over", 0.5, false, spins()),
		crowdTrial("c, strong", 4, false, spins()),
		crowdTrial("c, 2 processes on all CPUs", 3, true, spins("procs=2")),
		crowdTrial("c, bursty", 2, false, spins("on=8000", "off=2000")),
		{name: "crowd/c, fork storm", expect: saturated, make: func(b *bed) fault {
			g, other := b.group("a").weight(4), b.group("b").weight(8)
			how := spawn{cpus: []int{1}}
			other.victim(how, b.c("spin", "threads=4"))
			p := g.victim(how, b.c("storm", "lanes=2", "on=3000"))
			return fault{target: g, proof: []meter{own(p, "children off the CPU", 300)}}
		}},
		crowdTrial("python", 2, false, python()),
		crowdTrial("java, 2 threads on all CPUs", 3, true, java("threads=2")),
		crowdTrial("go, 2 workers on all CPUs", 3, true, golang("-workers", "2")),
		{name: "crowd/under a quota that is not reached", expect: saturated, make: func(b *bed) fault {
			g, other := b.group("a").weight(4).cpus(0.9), b.group("b").weight(5)
			how := spawn{cpus: []int{1}}
			other.victim(how, b.c("spin", "threads=2"))
			p := g.victim(how, b.c("spin"))
			return fault{target: g, proof: []meter{waitedMS(p, 1000)}}
		}},

		ownTrial("c, just over", 2500, spins("on=47000", "off=3000")),
		ownTrial("c, one thread", 2500, spins()),
		ownTrial("c, 8 threads on 2 CPUs", 4000, spins("threads=8")),
		ownTrial("c, bursts of both CPUs", 4000, spins("threads=3", "on=20000", "off=1000")),
		ownTrial("c, and writes to the page cache", 2000, func(b *bed) []string {
			return b.c("spin", "on=1000", kv("file", b.file()))
		}),
		ownTrial("c, below its quota", 2500, spins()).changed(func(g *group) { g.cpus(1.6) }),
		{name: "own/c, fork storm", expect: busy, make: func(b *bed) fault {
			g := b.group("a")
			p := g.victim(spawn{}, b.c("storm", "lanes=1", "on=20000"))
			return fault{target: g, proof: []meter{cpuMS(p, 2000)}}
		}},
		ownTrial("go, 4 workers", 3500, golang("-workers", "4")),
		ownTrial("python", 2500, python()),
		ownTrial("python, 3 processes", 1000, python("procs=3")),
		ownTrial("java, 3 threads", 3500, java("threads=3")),
	}
}

// changed is the trial with something done to the target's group once it runs.
func (t trial) changed(f func(*group)) trial {
	made := t.make
	t.make = func(b *bed) fault {
		ft := made(b)
		f(ft.target)
		return ft
	}
	return t
}
