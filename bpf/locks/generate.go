package locks

// See bpf/threads/generate.go.
//
//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../include" -type class -type total -type holder_key -type holder -type open_waits locks locks.bpf.c
