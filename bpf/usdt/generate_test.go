package usdt

// What the tests attach to points, and with what. The objects are committed.
//
//go:generate clang -target bpfel -O2 -g -mcpu=v3 -Wall -Werror -I../include -I. -c -o testdata/points.bpf.o testdata/points.bpf.c
//go:generate testdata/build.sh
