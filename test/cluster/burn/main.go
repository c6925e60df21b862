// burn is the program of both images of the test cluster. As /burn it keeps
// BURN_THREADS threads busy; as /pause it holds a pod's namespaces.
package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
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
	runtime.GOMAXPROCS(threads + 1) // one for main
	for range threads {
		go burn()
	}
	<-stop
}

func burn() {
	runtime.LockOSThread()
	var n atomic.Uint64 // kept in memory, so that the loop is not optimised away
	for {
		n.Add(1)
	}
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
