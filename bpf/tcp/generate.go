package tcp

// See bpf/threads/generate.go.
//
//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../include" -type conn -type totals -type peer -type closed_peer -type endpoint -type listener tcp tcp.bpf.c
