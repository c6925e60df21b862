package main

import (
	"os"
	"time"
)

// cacheTrial has readers of more files than the group's memory holds. The files
// are holes: filling the page cache from them takes no disk, so that what is lost
// is lost to taking memory back and not to reading it again.
func cacheTrial(name string, limitMB, dataMB int, line func(b *bed, file string) []string) trial {
	return trial{name: "cache/" + name, expect: reclaim, make: func(b *bed) fault {
		g := b.group("a").memory(limitMB)
		file := b.file()
		b.check(os.WriteFile(file, nil, 0o644))
		b.check(os.Truncate(file, int64(dataMB)<<20))
		g.victim(spawn{}, line(b, file))
		return fault{target: g, settle: 2 * time.Second, proof: []meter{limitHits(g, 100)}}
	}}
}

// thrashTrial has readers of files on the disk. Every read is one that the limit
// made necessary: with memory to spare there would be none, and the disk is as
// quick as ever. Which of the two takes more of the time is the disk's speed.
func thrashTrial(name string, limitMB, dataMB int, line func(b *bed, file string) []string) trial {
	t := cacheTrial("from the disk, "+name, limitMB, dataMB, nil)
	t.make = func(b *bed) fault {
		g := b.group("a").memory(limitMB)
		g.victim(spawn{}, line(b, b.data("", dataMB)))
		return fault{target: g, settle: 2 * time.Second, proof: []meter{limitHits(g, 100)}}
	}
	return t
}

// killTrial has children that grow over the group's memory and are killed.
func killTrial(name string, limitMB int, least float64, line func(*bed) []string) trial {
	return trial{name: "killed/" + name, expect: oom, make: func(b *bed) fault {
		g := b.group("a").memory(limitMB)
		g.victim(spawn{}, line(b))
		return fault{target: g, proof: []meter{ooms(g, least)}, settle: 300 * time.Millisecond}
	}}
}

func memoryTrials() []trial {
	files := func(args ...string) func(*bed, string) []string {
		return func(b *bed, file string) []string {
			return b.c("files", append([]string{kv("file", file)}, args...)...)
		}
	}
	grow := func(args ...string) func(*bed) []string {
		return func(b *bed) []string { return b.c("grow", args...) }
	}
	return []trial{
		cacheTrial("c, just over", 40, 200, files("mb=200", "kb=1024", "on=500")),
		cacheTrial("c, strong", 24, 300, files("mb=300", "threads=2")),
		cacheTrial("c, mapped files, 2 threads", 32, 300, files("mb=300", "kind=map", "threads=2")),
		cacheTrial("c, 4 processes", 32, 300, files("mb=300", "procs=4", "kind=map", "off=5000")),
		cacheTrial("c, bursty", 24, 300, files("mb=300", "kb=4096", "threads=2", "off=20000")),
		cacheTrial("python", 40, 300, func(b *bed, file string) []string { return b.python("files", kv("file", file), "threads=2") }),

		thrashTrial("2 threads", 24, 80, files("mb=80", "threads=2")),
		thrashTrial("mapped, 3 threads", 32, 100, files("mb=100", "kind=map", "threads=3")),

		// Late enough that kmend has begun on a slow machine too.
		killTrial("c, once", 60, 1, grow("mb=300", "wait=2700000", "pace=1000", "gap=60000000")),
		killTrial("c, again and again", 24, 3, grow("mb=300", "pace=1000", "gap=200000")),
		killTrial("c, quickly", 12, 6, grow("mb=300", "pace=0", "gap=100000")),
		killTrial("python", 60, 1, func(b *bed) []string { return b.python("grow", "mb=300", "gap=300000") }),
		// A heap that may grow over the container's memory.
		{name: "killed/java, a heap over the limit", expect: oom, window: 12 * time.Second, make: func(b *bed) fault {
			g := b.group("a").memory(120)
			java := b.java([]string{"-XX:+UseSerialGC", "-Xms32m", "-Xmx900m"}, "heap", "live=600", "threads=1")
			sh := b.program("sh", "apt-get install dash")
			g.start(spawn{}, append([]string{sh, "-c", `while :; do "$@"; sleep 0.2; done`, "sh"}, java...)...)
			return fault{target: g, proof: []meter{ooms(g, 1)}, settle: 2 * time.Second}
		}},
	}
}
