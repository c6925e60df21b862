// Command serve answers the requests of the victim call (8 bytes: how long the request
// and the answer are): after -delay, or every -nth request only, or in one go
// with -busy of computing. -addr is where it listens.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:7000", "")
	delay := flag.Duration("delay", 0, "")
	nth := flag.Int64("nth", 1, "")
	flag.Parse()
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	var served atomic.Int64
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() {
			defer c.Close()
			answer := make([]byte, 64<<10)
			var head [8]byte
			for {
				if _, err := io.ReadFull(c, head[:]); err != nil {
					return
				}
				if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:]))-8); err != nil {
					return
				}
				if served.Add(1)%*nth == 0 {
					time.Sleep(*delay)
				}
				for n := int(binary.BigEndian.Uint32(head[4:])); n > 0; n -= len(answer) {
					if _, err := c.Write(answer[:min(n, len(answer))]); err != nil {
						return
					}
				}
			}
		}()
	}
}
