// Package hotspot sees which threads of a running Java virtual machine (OpenJDK 17
// and later) wait for which lock, from outside.
//
// Java's locks park each thread at a futex of its own, so the kernel cannot tell a
// wait for a lock from a wait for work. The virtual machine itself knows: a thread
// that waits to enter a monitor has it in JavaThread::_current_pending_monitor, and
// one that parks says for what in Thread.parkBlocker, as thread dumps show it. Both
// are read in the process's memory, many times in a window, at the places that
// HotSpot describes for debuggers (gHotSpotVMStructs). Nothing is stopped, nothing
// is attached and nothing is written; what was read while the virtual machine
// changed it leads nowhere, and is not counted.
//
// A wait counts where the kernel says that the thread sleeps in futex(2). Waits
// for something else, such as Object.wait, conditions, queues and futures, have
// no monitor and another blocker.
//
// Limits: virtual threads wait without a thread of the system; collectors whose
// pointers have colours (ZGC) and compact object headers hide the names of classes,
// and with them all locks but monitors, as does a libjvm.so without .symtab.
package hotspot
