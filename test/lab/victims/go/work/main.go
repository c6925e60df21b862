// Command work computes in -workers goroutines, allocating as it goes; each sleeps -off
// after -on of it. With -url-like -peer it does requests as the victim call
// does instead.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func main() {
	workers := flag.Int("workers", 2, "")
	on := flag.Duration("on", 10*time.Millisecond, "")
	off := flag.Duration("off", 0, "")
	peer := flag.String("peer", "", "")
	ask := flag.Int("ask", 100, "")
	answer := flag.Int("answer", 100, "")
	flag.Parse()
	for range *workers {
		if *peer != "" {
			go call(*peer, *ask, *answer, *off)
			continue
		}
		go func() {
			for {
				compute(*on)
				time.Sleep(*off)
			}
		}()
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
}

var sink [][]byte

func compute(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		b := make([]byte, 2048)
		for i := range b {
			b[i] = byte(i * i)
		}
		if len(b) == 0 {
			sink = append(sink, b)
		}
	}
}

func call(peer string, ask, answer int, off time.Duration) {
	c, err := net.Dial("tcp", peer)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	request := make([]byte, ask)
	binary.BigEndian.PutUint32(request, uint32(ask))
	binary.BigEndian.PutUint32(request[4:], uint32(answer))
	for {
		if _, err := c.Write(request); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if _, err := io.CopyN(io.Discard, c, int64(answer)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		time.Sleep(off)
	}
}
