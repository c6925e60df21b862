// Command pool is a Go program at its ease: -workers goroutines wait for jobs on a
// channel, and a ticker gives out one of -on every -gap (0: never). With
// -locked each worker has a thread of its own.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"time"
)

func main() {
	workers := flag.Int("workers", 16, "")
	on := flag.Duration("on", time.Millisecond, "")
	gap := flag.Duration("gap", 0, "")
	locked := flag.Bool("locked", false, "")
	flag.Parse()
	jobs := make(chan int)
	for range *workers {
		go func() {
			if *locked {
				runtime.LockOSThread()
			}
			for range jobs {
				for end := time.Now().Add(*on); time.Now().Before(end); {
				}
			}
		}()
	}
	fmt.Println("ready")
	if *gap == 0 {
		time.Sleep(time.Hour)
	}
	for range time.Tick(*gap) {
		jobs <- 1
	}
}
