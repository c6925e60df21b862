// Package usdt finds the static tracepoints (USDT) of programs and attaches BPF
// programs to them. It comes before bpf/postgres and bpf/jvm in the flow: they
// name the points, this package knows where they are in a file and where their
// arguments are in the registers.
//
// Files and notes are written by whoever built the program and are hostile
// input: every size is bounded and nothing in them is followed outside of the
// file. Format: https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation
package usdt
