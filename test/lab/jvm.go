package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// heapTrial has a JVM whose heap is too small for what it does.
func heapTrial(name string, leastMS float64, options []string, args ...string) trial {
	return trial{name: "heap/" + name, expect: gcPause, make: func(b *bed) fault {
		g := b.group("a")
		log := b.file()
		g.victim(spawn{}, b.java(append([]string{"-Xlog:gc:file=" + log}, options...), "heap", args...))
		return fault{target: g, settle: time.Second, proof: []meter{pauses(log, leastMS)}}
	}}
}

var pauseLine = regexp.MustCompile(`Pause .* ([0-9.]+)ms$`)

// pauses adds up the pauses in a log of the JVM itself.
func pauses(log string, leastMS float64) meter {
	return meter{what: "GC pauses in the JVM's log (ms)", least: leastMS, read: func() (float64, error) {
		f, err := os.Open(log)
		if err != nil {
			return 0, fmt.Errorf("reading the JVM's log: %w", err)
		}
		defer f.Close()
		total := 0.0
		for s := bufio.NewScanner(f); s.Scan(); {
			if m := pauseLine.FindStringSubmatch(strings.TrimSpace(s.Text())); m != nil {
				v, err := strconv.ParseFloat(m[1], 64)
				if err != nil {
					return 0, err
				}
				total += v
			}
		}
		return total, nil
	}}
}

func jvmTrials() []trial {
	return []trial{
		// Workers that do a little and rest; what they lose, they lose to the collector.
		heapTrial("serial, just over", 320, []string{"-XX:+UseSerialGC", "-Xms64m", "-Xmx64m", "-Xmn8m"}, "threads=4", "live=30", "kb=1024", "off=3500"),
		heapTrial("serial, strong", 1000, []string{"-XX:+UseSerialGC", "-Xms96m", "-Xmx96m"}, "threads=4", "live=70", "kb=2048", "off=5000"),
		heapTrial("parallel, strong", 1000, []string{"-XX:+UseParallelGC", "-Xms96m", "-Xmx96m"}, "threads=4", "live=70", "kb=2048", "off=5000"),
		heapTrial("g1, strong", 800, []string{"-XX:+UseG1GC", "-Xms96m", "-Xmx96m"}, "threads=4", "live=62", "kb=2048", "off=5000"),
		heapTrial("parallel, 12 threads", 800, []string{"-XX:+UseParallelGC", "-Xms96m", "-Xmx96m"}, "threads=12", "live=60", "kb=512", "off=8000"),
		heapTrial("serial, bursts of full collections", 500, []string{"-XX:+UseSerialGC", "-Xms800m", "-Xmx800m"}, "threads=4", "live=500", "kb=64", "off=10000", "full=250"),
		heapTrial("g1, bursts of full collections", 500, []string{"-XX:+UseG1GC", "-Xms800m", "-Xmx800m"}, "threads=4", "live=500", "kb=64", "off=10000", "full=150"),
		{name: "heap/two JVMs", expect: gcPause, make: func(b *bed) fault {
			g, log := b.group("a"), b.file()
			line := func(log string) []string {
				return b.java([]string{"-Xlog:gc:file=" + log, "-XX:+UseSerialGC", "-Xms64m", "-Xmx64m"}, "heap", "threads=2", "live=40", "kb=1024", "off=8000")
			}
			g.victim(spawn{}, line(log))
			g.victim(spawn{}, line(b.file()))
			return fault{target: g, settle: time.Second, proof: []meter{pauses(log, 300)}}
		}},
	}
}
