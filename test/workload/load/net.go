package load

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// messageSize is that of a request and of an answer of ask and answer.
const messageSize = 100

// ask sends a request to Addr, waits for the answer, computes for On and pauses
// for Off, over one connection a thread.
func (w *worker) ask() {
	c := w.connect()
	b := make([]byte, messageSize)
	for !w.stopped() {
		begin := time.Now()
		if _, err := c.Write(b); err != nil {
			return
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		w.ops.Add(1)
		w.waited.Add(int64(time.Since(begin)))
		spin(time.Now().Add(w.On))
		time.Sleep(w.Off)
	}
}

// connect waits until somebody listens.
func (w *worker) connect() net.Conn {
	for !w.stopped() {
		c, err := net.Dial("tcp", w.Addr)
		if err == nil {
			w.lose(c)
			return c
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// answer listens on Addr and answers each request after Delay.
func (w *worker) answer() {
	l, err := net.Listen("tcp", w.Addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		w.lose(c)
		go func() {
			defer c.Close()
			b := make([]byte, messageSize)
			for {
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				time.Sleep(w.Delay)
				if _, err := c.Write(b); err != nil {
					return
				}
				w.ops.Add(1)
			}
		}()
	}
}

// lose makes the kernel drop a part of the segments that come in, before TCP sees
// them: a socket filter that gives 0 drops, and A is random first. Real losses
// that need neither a network device nor a privilege.
func (w *worker) lose(c net.Conn) {
	if w.Loss <= 0 {
		return
	}
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: uint32(w.Loss * (1<<32 - 1)), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
		})
		if err == nil {
			err = cerr
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "workload: losing segments:", err)
		os.Exit(1)
	}
}
