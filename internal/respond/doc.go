// Package respond is the whole flow from a committed alert to a report, as one
// durable workflow that reads as prose: diagnose, plan, guard, approve, execute,
// verify, report. It declares the interfaces of the stages it calls; the stages
// do not know of it or of one another.
package respond
