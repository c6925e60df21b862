package threads

// The object is the same for every little-endian machine: what differs between
// architectures and kernels is relocated when it is loaded. Generating it needs
// clang and libbpf's headers (Debian: clang libbpf-dev); building it in does not.
//
//go:generate go tool bpf2go -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I../include" -type record -type group_total -type cpu_slot threads threads.bpf.c
