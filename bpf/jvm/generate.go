package jvm

// See bpf/threads/generate.go.
//
//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../include -I../usdt" -type jvm -type total -type slot jvm jvm.bpf.c
