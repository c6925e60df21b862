// Package traces asks Jaeger or Tempo who made the alert's service wait: the slow
// or failing traces of the service around the alert, against a baseline from
// before it, and the way from the service to the furthest one downstream that is
// abnormal. That is where diagnose/investigate measures next.
//
//	service, window -> Jaeger or Tempo (client) -> []Span -> calls (tree) -> Way (analysis)
//
// The analysis is pure. What it says is a hint where to measure: only a kernel
// confirms a cause, and what a span says of itself never picks an action.
package traces
