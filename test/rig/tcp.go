package rig

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Lose makes the kernel drop a part of the segments that come in on a connection,
// before TCP sees them: real losses that need neither a network device nor a
// privilege. A socket filter that gives 0 drops; bpf(8) calls A = random.
func Lose(t testing.TB, c *net.TCPConn, part float64) {
	t.Helper()
	const random = 0xfffff000 + 56 // SKF_AD_OFF + SKF_AD_RANDOM
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: random},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: uint32(part * (1<<32 - 1)), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	control(t, c, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	})
}

// TCPInfo is the kernel's own account of a connection.
func TCPInfo(t testing.TB, c *net.TCPConn) (i unix.TCPInfo) {
	t.Helper()
	control(t, c, func(fd int) error {
		got, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			i = *got
		}
		return err
	})
	return i
}

func control(t testing.TB, c syscall.Conn, do func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := errors.Join(raw.Control(func(fd uintptr) { inner = do(int(fd)) }), inner); err != nil {
		t.Fatal(err)
	}
}
