package main

import "time"

// slowTrial has victims that wait for a disk whose operations a second are
// limited, for the group that they are in. line gets the folder on that disk.
func slowTrial(name string, iops int, leastMS float64, line func(b *bed, dir string) []string) trial {
	return trial{name: "disk/" + name, expect: diskSlow, make: func(b *bed) fault {
		d, g := b.disk(256), b.group("a")
		p := g.victim(spawn{}, line(b, d.dir))
		b.wait(200 * time.Millisecond)
		g.throttle(d.number, iops, iops)
		f := fault{target: g, settle: time.Second}
		if leastMS > 0 {
			f.proof = []meter{own(p, "waited for the disk", leastMS)}
		}
		return f
	}}
}

func blocks(args ...string) func(*bed, string) []string {
	return func(b *bed, dir string) []string { return b.c("block", append([]string{kv("dir", dir)}, args...)...) }
}

func diskTrials() []trial {
	return []trial{
		slowTrial("c, just over", 50, 700, blocks("on=12000")),
		slowTrial("c, strong", 10, 2000, blocks()),
		slowTrial("c, 4 threads", 40, 8000, blocks("threads=4")),
		slowTrial("c, 3 processes", 30, 6000, blocks("procs=3")),
		slowTrial("c, fsync", 20, 1500, blocks("kind=fsync")),
		slowTrial("c, reads", 25, 2000, blocks("kind=read")),
		slowTrial("c, short-lived processes", 20, 1500, blocks("kind=once", "on=1000")),
		slowTrial("c, bursty", 40, 500, blocks("threads=3", "off=60000")),
		slowTrial("python, fsync", 20, 1500, func(b *bed, dir string) []string { return b.python("block", kv("dir", dir), "threads=2", "on=2000") }),
		slowTrial("java, force", 20, 1500, func(b *bed, dir string) []string {
			return b.java([]string{"-XX:+UseSerialGC", "-Xmx64m"}, "force", kv("dir", dir), "threads=2")
		}),
		// The device itself is slow: the disk below the loop device is limited.
		{name: "disk/c, a device that is slow itself", expect: diskSlow, make: func(b *bed) fault {
			d, g := b.disk(256), b.group("a")
			p := g.victim(spawn{}, b.c("block", kv("dir", d.dir), "threads=2"))
			b.wait(200 * time.Millisecond)
			g.throttle(d.below, 20, 20)
			return fault{target: g, settle: time.Second, proof: []meter{own(p, "waited for the disk", 3000)}}
		}},
		{name: "disk/postgres commits", expect: diskSlow, make: func(b *bed) fault {
			d, g := b.disk(512), b.group("a")
			db := b.postgres(g, "", "127.0.0.1", d.dir)
			db.sql("create table log(i int); ")
			db.pgbench(b.group("b"), "", "-c", "4", "insert into log values (1);")
			b.wait(500 * time.Millisecond)
			g.throttle(d.number, 20, 20)
			return fault{target: g, settle: time.Second, proof: []meter{db.level("backends in a write or sync of the log",
				"select count(*) from pg_stat_activity where wait_event in ('WALSync','WALWrite','WALWriteLock')", 1)}}
		}},
	}
}
