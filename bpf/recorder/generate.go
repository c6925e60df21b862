package recorder

// See bpf/threads/generate.go.
//
//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../include -I../threads -I../tcp" -type cell -type long_wait -type victim recorder recorder.bpf.c
