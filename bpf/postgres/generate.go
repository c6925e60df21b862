package postgres

// See bpf/threads/generate.go.
//
//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../include -I../usdt" -type tag -type open_wait -type wait_key -type wait postgres postgres.bpf.c
