package main

import (
	"fmt"
	"time"
)

const servePort = 7000

// server is the victim's peer at the far end of a link, in a group of its own.
func (b *bed) server(l *link, delay time.Duration, nth int) {
	b.group("b").victim(spawn{netns: l.far}, b.golang("serve",
		"-addr", fmt.Sprintf("%s:%d", l.farAddr, servePort), "-delay", delay.String(), "-nth", fmt.Sprint(nth)))
}

// callers do requests over the link: args after host= and port=.
type callers func(b *bed, l *link) []string

func callC(args ...string) callers {
	return func(b *bed, l *link) []string {
		return b.c("call", append([]string{kv("host", l.farAddr), kv("port", servePort)}, args...)...)
	}
}

func callPython(args ...string) callers {
	return func(b *bed, l *link) []string {
		return b.python("call", append([]string{kv("host", l.farAddr), kv("port", servePort)}, args...)...)
	}
}

func callJava(args ...string) callers {
	return func(b *bed, l *link) []string {
		return b.java([]string{"-XX:+UseSerialGC", "-Xmx64m"}, "call", append([]string{kv("host", l.farAddr), kv("port", servePort)}, args...)...)
	}
}

func callGo(args ...string) callers {
	return func(b *bed, l *link) []string {
		return b.golang("work", append([]string{"-peer", fmt.Sprintf("%s:%d", l.farAddr, servePort)}, args...)...)
	}
}

// lossTrial has callers that send much over a link that loses a part of it.
func lossTrial(name string, toFar, toNear, least float64, line callers) trial {
	return trial{name: "loss/" + name, expect: retransmit, make: func(b *bed) fault {
		l, g := b.link(), b.group("a")
		b.server(l, 0, 1)
		p := g.victim(spawn{netns: l.near}, line(b, l))
		b.wait(300 * time.Millisecond) // connections are there
		l.loses(toFar, toNear)
		return fault{target: g, proof: []meter{resent(p, least)}}
	}}
}

// lateTrial has callers whose peer answers late, over a link that loses nothing.
func lateTrial(name string, delay time.Duration, nth int, leastMS float64, line callers) trial {
	return trial{name: "late/" + name, expect: peerSlow, make: func(b *bed) fault {
		l, g := b.link(), b.group("a")
		b.server(l, delay, nth)
		p := g.victim(spawn{netns: l.near}, line(b, l))
		f := fault{target: g}
		if leastMS > 0 {
			f.proof = []meter{own(p, "waited for answers", leastMS)}
		}
		return f
	}}
}

// doubtful is a fault that the target cannot tell from something else.
func doubtful(t trial, doubt string) trial {
	t.doubt = doubt
	return t
}

func netTrials() []trial {
	const ms = time.Millisecond
	return []trial{
		lossTrial("c, just over", 0.03, 0, 3, callC("ask=400", "off=8000")),
		lossTrial("c, strong", 0.2, 0, 10, callC("ask=100000")),
		lossTrial("c, 6 connections", 0.1, 0, 20, callC("threads=6", "ask=60000", "off=5000")),
		lossTrial("c, 4 processes", 0.1, 0, 15, callC("procs=4", "ask=60000", "off=5000")),
		lossTrial("c, small requests", 0.15, 0, 3, callC("ask=400", "threads=2", "off=1000")),
		lossTrial("c, a new connection each", 0.15, 0, 3, callC("ask=3000", "fresh=1", "threads=2", "off=2000")),
		lossTrial("c, bursty", 0.1, 0, 5, callC("ask=500000", "off=300000", "threads=2")),
		lossTrial("go", 0.1, 0, 10, callGo("-workers", "3", "-ask", "60000", "-off", "5ms")),
		lossTrial("python", 0.1, 0, 5, callPython("ask=60000", "threads=2", "off=5000")),
		lossTrial("java", 0.1, 0, 5, callJava("ask=60000", "threads=2", "off=5000")),
		{name: "loss/redis, the server", expect: retransmit, make: func(b *bed) fault {
			l, g := b.link(), b.group("a")
			r := b.redis(g, l.near, l.nearAddr)
			b.benchmark(b.group("b"), l.far, l.nearAddr, "-t", "get", "-c", "4", "-d", "60000")
			b.wait(500 * ms)
			l.loses(0.1, 0)
			return fault{target: g, proof: []meter{resent(r, 20)}}
		}},
		{name: "loss/redis, a client", expect: retransmit, make: func(b *bed) fault {
			l, g := b.link(), b.group("a")
			b.redis(b.group("b"), l.far, l.farAddr)
			p := b.benchmark(g, l.near, l.farAddr, "-t", "set", "-c", "4", "-d", "60000")
			b.wait(500 * ms)
			l.loses(0.1, 0)
			return fault{target: g, proof: []meter{resent(p, 20)}}
		}},

		lateTrial("c, just over", 20*ms, 1, 500, callC("on=20000")),
		lateTrial("c, strong", 250*ms, 1, 2000, callC()),
		doubtful(lateTrial("c, very late", 450*ms, 1, 2000, callC("threads=2")), "a long poll"),
		lateTrial("c, 8 threads", 100*ms, 1, 10000, callC("threads=8", "off=5000")),
		lateTrial("c, 4 processes", 80*ms, 1, 5000, callC("procs=4", "on=2000")),
		lateTrial("c, each tenth answer", 300*ms, 10, 1500, callC("threads=2", "on=1000")),
		lateTrial("c, a new connection each", 50*ms, 1, 1500, callC("fresh=1", "on=1000")),
		lateTrial("go", 60*ms, 1, 0, callGo("-workers", "4", "-off", "5ms")),
		lateTrial("python", 60*ms, 1, 2000, callPython("threads=3", "off=5000")),
		lateTrial("java", 60*ms, 1, 2000, callJava("threads=3", "off=5000")),
		{name: "late/redis that computes", expect: peerSlow, make: func(b *bed) fault {
			l, g := b.link(), b.group("a")
			other := b.group("b")
			r := b.redis(other, l.far, l.farAddr)
			b.benchmark(other, l.far, l.farAddr, "-c", "1", "eval", "local s=0 for i=1,3000000 do s=s+i end return s", "0")
			b.benchmark(g, l.near, l.farAddr, "-t", "get", "-c", "3")
			return fault{target: g, proof: []meter{cpuMS(r, 2000)}, settle: time.Second}
		}},
		{name: "late/a query that sleeps", expect: peerSlow, make: func(b *bed) fault {
			l, g := b.link(), b.group("a")
			db := b.postgres(b.group("b"), l.far, l.farAddr, "")
			db.pgbench(g, l.near, "-c", "2", "select pg_sleep(0.15);")
			return fault{target: g, settle: time.Second, proof: []meter{db.level("sessions that sleep",
				"select count(*) from pg_stat_activity where wait_event = 'PgSleep'", 1)}}
		}},
	}
}
