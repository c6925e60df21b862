// burn is the program of both images of the test cluster. As /burn it keeps
// BURN_THREADS threads busy: all the time, or, with BURN_WORK and BURN_PAUSE, in
// turns of that much CPU time and that much sleep, as a server does that is
// asked so many questions a second. As /pause it holds a pod's namespaces.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if filepath.Base(os.Args[0]) == "pause" {
		pause(stop)
		return
	}
	threads, err := strconv.Atoi(os.Getenv("BURN_THREADS"))
	if err != nil || threads < 1 {
		threads = 1
	}
	work, rest := duration("BURN_WORK"), duration("BURN_PAUSE")
	runtime.GOMAXPROCS(threads + 1) // one for main
	for range threads {
		go burn(work, rest)
	}
	<-stop
}

// duration reads an environment variable; 0 when it is not set.
func duration(name string) time.Duration {
	s := os.Getenv(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		fmt.Fprintf(os.Stderr, "burn: %s: %v\n", name, err)
		os.Exit(2)
	}
	return d
}

// burn keeps one thread busy.
func burn(work, rest time.Duration) {
	runtime.LockOSThread()
	for {
		for end := threadTime() + work; rest == 0 || threadTime() < end; {
			for x := range 2000 {
				runtime.KeepAlive(x)
			}
		}
		time.Sleep(rest)
	}
}

// threadTime is the CPU time that the calling thread has had.
func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// pause reaps what is left to it, as the first process of a pid namespace has to.
func pause(stop <-chan os.Signal) {
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)
	for {
		select {
		case <-stop:
			return
		case <-child:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}
