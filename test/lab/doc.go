// Command lab makes faults for real, whose cause is known because the lab made them,
// and asks kmend for it through its command line, which is all that it knows of
// kmend. It prints a confusion matrix, the cause expected against the cause found.
//
//	lab -list                     the cases
//	lab -r 'disk|healthy'         some of them
//	lab -prepare DIR              build the victims (gcc, javac, go), for a machine without compilers
//	lab -victims DIR -kmend FILE  use them there
//	lab -o json > cases.json      every case with its findings
//
// A case is a fault: processes in cgroups of their own with neutral names, what
// is done to them, and witnesses, which are counters of the kernel, of the
// program or of the victim itself that prove that the fault was there while
// kmend measured. A healthy control is a case without a fault.
//
// The cases are tables, one file a family: cpu.go, net.go, disk.go, locks.go,
// database.go, jvm.go, memory.go, two.go (two faults at once), healthy.go. bed.go
// is what a case makes its fault with; what it made is gone when the case ends,
// also on Ctrl-C. Status 1: fewer than 98% of the faults right, a confirmed
// finding about a healthy control, or a ledger that does not add up within 1%.
package main
