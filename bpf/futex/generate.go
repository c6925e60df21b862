package futex

// See bpf/threads/generate.go.
//
//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../include" -type address -type word -type part_key -type part -type open_wait -type sample futex futex.bpf.c
