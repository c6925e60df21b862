package main

import "time"

// twoTrials are two faults at once: both must be among the findings. Which must
// be first follows from how much time each takes; where that is close, either.
func twoTrials() []trial {
	return []trial{
		// Both on one CPU. The quota is a quarter, the neighbour's weight leaves 45%:
		// throttled for more than it waits, or the other way round, by the moment.
		{name: "two/quota and crowd", expect: throttled, or: []string{saturated}, with: []string{saturated},
			why: "the quota of 0.25 CPU is hit after 55 to 60 ms of each 100 ms: 30 ms waiting, 40 ms throttled",
			make: func(b *bed) fault {
				g, other := b.group("a").weight(4).cpus(0.25), b.group("b").weight(4.9)
				how := spawn{cpus: []int{1}}
				other.victim(how, b.c("spin", "threads=2"))
				p := g.victim(how, b.c("spin"))
				return fault{target: g, proof: []meter{throttledMS(g, 300), waitedMS(p, 300)}}
			}},
		// Three threads wait for a lock whose holder waits for the peer: 3 to 1.
		{name: "two/convoy behind a slow peer", expect: userLock, with: []string{peerSlow}, make: func(b *bed) fault {
			l, g := b.link(), b.group("a")
			b.server(l, 40*time.Millisecond, 1)
			p := g.victim(spawn{netns: l.near}, b.c("call", kv("host", l.farAddr), kv("port", servePort), "lock=1", "threads=4"))
			return fault{target: g, proof: []meter{own(p, "waited", 8000)}}
		}},
		// A thread that is throttled for 80% of its time, and three writers that wait
		// for the disk nearly all of theirs: 0.8 to 3.
		{name: "two/disk and quota", expect: diskSlow, or: []string{throttled}, with: []string{throttled},
			why: "where a write takes milliseconds of CPU time, as emulated, the writers are throttled too",
			make: func(b *bed) fault {
				d, g := b.disk(256), b.group("a").cpus(0.2)
				g.victim(spawn{}, b.c("spin"))
				p := g.victim(spawn{}, b.c("block", kv("dir", d.dir), "procs=3"))
				g.throttle(d.number, 20, 20)
				return fault{target: g, settle: time.Second, proof: []meter{own(p, "waited for the disk", 5000), throttledMS(g, 500)}}
			}},
		// One thread throttled for 80% of its time; one thread that sends over a lossy
		// link and is stalled for most of it.
		{name: "two/loss and quota", expect: throttled, or: []string{retransmit}, with: []string{retransmit},
			why: "one thread each, and how long a lossy link stalls is chance",
			make: func(b *bed) fault {
				l, g := b.link(), b.group("a").cpus(0.2)
				b.server(l, 0, 1)
				g.victim(spawn{}, b.c("spin"))
				p := g.victim(spawn{netns: l.near}, b.c("call", kv("host", l.farAddr), kv("port", servePort), "ask=60000", "threads=1", "off=2000"))
				b.wait(300 * time.Millisecond)
				l.loses(0.2, 0)
				return fault{target: g, proof: []meter{throttledMS(g, 500), resent(p, 5)}}
			}},
		// Collections that are slow because the quota is small.
		{name: "two/heap and quota", expect: gcPause, or: []string{throttled}, with: []string{throttled},
			why: "the time in which the collector is throttled is both",
			make: func(b *bed) fault {
				g, log := b.group("a").cpus(0.3), b.file()
				g.victim(spawn{}, b.java([]string{"-Xlog:gc:file=" + log, "-XX:+UseSerialGC", "-Xms96m", "-Xmx96m"}, "heap", "threads=4", "live=70", "kb=2048", "off=5000"))
				return fault{target: g, settle: time.Second, proof: []meter{throttledMS(g, 300), pauses(log, 500)}}
			}},
		// Two clients wait for a row, and one commits to a slow disk: 2 to 1.
		{name: "two/rows and disk", expect: dbLock, with: []string{diskSlow}, make: func(b *bed) fault {
			d, g := b.disk(512), b.group("a")
			db := b.postgres(g, "", "127.0.0.1", d.dir)
			db.sql(accounts)
			clients := b.group("b")
			db.pgbench(clients, "", "-c", "3", "update acc set v=v+1 where id=1;")
			b.wait(500 * time.Millisecond)
			g.throttle(d.number, 20, 20)
			return fault{target: g, settle: 1500 * time.Millisecond, proof: []meter{db.waiting(1)}}
		}},
		// Three of four threads wait for a lock; four others compute on two CPUs: with
		// their computing 4 threads to 3, with their queueing alone 2 to 3.
		{name: "two/convoy and own", expect: userLock, or: []string{busy}, with: []string{busy},
			why: "whether time on a CPU is lost decides it", make: func(b *bed) fault {
				g := b.group("a")
				p := g.victim(spawn{}, b.c("guard", "threads=4", "hold=5000"))
				c := g.victim(spawn{}, b.c("spin", "threads=4"))
				return fault{target: g, proof: []meter{own(p, "waited for the lock", 5000), cpuMS(c, 3000)}}
			}},
		// The kernel kills one child after another, and a thread is throttled.
		{name: "two/killed and quota", expect: throttled, or: []string{oom}, with: []string{oom},
			why: "a kill takes no time that could be compared",
			make: func(b *bed) fault {
				g := b.group("a").memory(8).cpus(0.3)
				g.victim(spawn{}, b.c("spin"))
				g.victim(spawn{}, b.c("grow", "mb=300", "pace=0", "gap=200000"))
				return fault{target: g, proof: []meter{throttledMS(g, 500), ooms(g, 1)}}
			}},
	}
}
