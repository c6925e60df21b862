package main

import "time"

// fine is a healthy control: nothing may be confirmed about it.
func fine(name string, make func(*bed) fault) trial {
	return trial{name: "healthy/" + name, expect: healthy, make: make}
}

// alone is a control that is one process.
func alone(name string, line func(*bed) []string) trial {
	return fine(name, func(b *bed) fault {
		g := b.group("a")
		g.victim(spawn{}, line(b))
		return fault{target: g}
	})
}

func healthyTrials() []trial {
	const ms = time.Millisecond
	javaOptions := []string{"-XX:+UseParallelGC", "-Xms512m", "-Xmx512m"}
	return []trial{
		alone("sleeping", func(b *bed) []string { return b.c("spin", "on=0", "off=100000000", "threads=4") }),
		alone("cron-like", func(b *bed) []string { return b.c("storm", "lanes=1", "on=3000", "off=900000") }),
		alone("working at 40% of a CPU", func(b *bed) []string { return b.c("spin", "on=4000", "off=6000") }),
		alone("4 threads at 10% each", func(b *bed) []string { return b.c("spin", "threads=4", "on=2000", "off=18000", "stagger=5000") }),
		alone("a crash now and then", func(b *bed) []string { return b.c("storm", "lanes=1", "on=1000", "off=400000", "crash=1") }),
		alone("c, an idle pool", func(b *bed) []string { return b.c("pool", "threads=16") }),
		alone("c, a work queue", func(b *bed) []string { return b.c("pool", "threads=8", "gap=5000", "on=1500") }),
		alone("c, a work queue in batches", func(b *bed) []string { return b.c("pool", "threads=8", "gap=50000", "batch=8", "on=500") }),
		alone("c, a pipeline of 4", func(b *bed) []string { return b.c("pool", "stages=4", "gap=10000", "on=700") }),
		alone("c, a lock hardly used", func(b *bed) []string { return b.c("guard", "threads=4", "hold=100", "off=20000") }),
		alone("go, an idle pool", func(b *bed) []string { return b.golang("pool", "-workers", "32") }),
		alone("go, a work queue", func(b *bed) []string { return b.golang("pool", "-gap", "5ms", "-on", "1ms", "-locked") }),
		alone("python, an idle pool", func(b *bed) []string { return b.python("pool", "threads=8") }),
		alone("python, a work queue", func(b *bed) []string { return b.python("pool", "threads=8", "gap=20000", "on=3000") }),
		alone("java, an idle pool", func(b *bed) []string { return b.java(javaOptions, "pool", "threads=16") }),
		alone("java, a work queue", func(b *bed) []string { return b.java(javaOptions, "pool", "threads=8", "gap=10000", "on=2000") }),
		alone("java, a big heap", func(b *bed) []string {
			return b.java(javaOptions, "heap", "threads=2", "live=20", "kb=256", "off=20000")
		}),
		fine("a quota never reached", func(b *bed) fault {
			g := b.group("a").cpus(1)
			g.victim(spawn{}, b.c("spin", "on=3000", "off=7000"))
			return fault{target: g}
		}),
		fine("keep-alive connections", func(b *bed) fault {
			l, g := b.link(), b.group("a")
			b.server(l, 0, 1)
			g.victim(spawn{netns: l.near}, b.c("call", kv("host", l.farAddr), kv("port", servePort), "threads=20", "off=1000000"))
			return fault{target: g}
		}),
		// Nobody's fault when nobody asks: the link loses segments and none are sent.
		fine("idle connections over a lossy link", func(b *bed) fault {
			l, g := b.link(), b.group("a")
			b.server(l, 0, 1)
			g.victim(spawn{netns: l.near}, b.c("call", kv("host", l.farAddr), kv("port", servePort), "threads=4", "off=60000000"))
			b.wait(500 * ms)
			l.loses(0.3, 0.3)
			return fault{target: g}
		}),
		fine("a quick peer", func(b *bed) fault {
			l, g := b.link(), b.group("a")
			b.server(l, 0, 1)
			g.victim(spawn{netns: l.near}, b.c("call", kv("host", l.farAddr), kv("port", servePort), "on=300", "off=6000", "threads=2"))
			return fault{target: g}
		}),
		// It waits for requests, which is its work.
		fine("a server with few clients", func(b *bed) fault {
			l, g := b.link(), b.group("a")
			g.victim(spawn{netns: l.far}, b.golang("serve", "-addr", l.farAddr+":7000"))
			b.group("b").victim(spawn{netns: l.near}, b.c("call", kv("host", l.farAddr), kv("port", servePort), "off=200000", "threads=3"))
			return fault{target: g}
		}),
		// Each waits 30 s for something to happen, and nothing does: no answer in the
		// window, and none is late.
		fine("long polls", func(b *bed) fault {
			l, g := b.link(), b.group("a")
			b.server(l, 30*time.Second, 1)
			g.victim(spawn{netns: l.near}, b.python("call", kv("host", l.farAddr), kv("port", servePort), "threads=6"))
			return fault{target: g}
		}),
		fine("redis at ease", func(b *bed) fault {
			l, g := b.link(), b.group("a")
			b.redis(g, l.near, l.nearAddr)
			b.group("b").victim(spawn{netns: l.far}, b.python("ping", kv("host", l.nearAddr), "threads=3", "off=10000"))
			return fault{target: g}
		}),
		fine("postgres that works", func(b *bed) fault {
			g := b.group("a")
			db := b.postgres(g, "", "127.0.0.1", "")
			db.sql(accounts)
			db.pgbench(b.group("b"), "", "-c", "4", "-R", "15", "update acc set v=v+1 where id = 1 + (random()*999)::int; select v from acc where id = 7;")
			return fault{target: g, settle: time.Second}
		}),
		fine("a client of it", func(b *bed) fault {
			g := b.group("a")
			db := b.postgres(b.group("b"), "", "127.0.0.1", "")
			db.sql(accounts)
			db.pgbench(g, "", "-c", "2", "-R", "15", "select v from acc where id = 7;")
			return fault{target: g, settle: time.Second}
		}),
		fine("postgres that idles", func(b *bed) fault {
			g := b.group("a")
			b.postgres(g, "", "127.0.0.1", "")
			return fault{target: g, settle: time.Second}
		}),
		fine("a page cache reader with memory to spare", func(b *bed) fault {
			g := b.group("a").memory(400)
			file := b.data("", 100)
			g.victim(spawn{}, b.c("files", kv("file", file), "mb=100", "kb=64", "off=3000"))
			return fault{target: g, settle: 2 * time.Second}
		}),
		// A quick fsync now and then is what a database does.
		fine("an fsync every 50 ms", func(b *bed) fault {
			d, g := b.disk(128), b.group("a")
			g.victim(spawn{}, b.c("block", kv("dir", d.dir), "kind=fsync", "on=2000", "off=50000"))
			return fault{target: g}
		}),
		fine("memory near its limit", func(b *bed) fault {
			g := b.group("a").memory(100)
			g.victim(spawn{}, b.c("grow", "mb=70", "pace=1000", "stay=100000000"))
			return fault{target: g, settle: time.Second}
		}),
	}
}
