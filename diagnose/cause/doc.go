// Package cause turns a measurement of an agent into a diagnosis: it names the
// root causes that the kernel confirms, or says that the kernel is clean, or
// why nothing can be said. It comes after diagnose/agent in the flow, is pure,
// and does no I/O.
//
// A cause is confirmed only over a threshold of share and one of duration
// (thresholds.go). What is over its threshold and cannot be named is a doubt: a
// diagnosis is never clean with one, and never confirmed when the doubt weighs
// more than every cause.
package cause
