// Package tracing tells an OTLP receiver what kmend did when: it stands beside the
// whole flow, a span for each stage. An incident is one trace, whoever works on it and
// however often: the trace's id is made of the incident's. Spans say how long what
// took and how it ended in a word, never what an alert, a log or a model said.
//
// A receiver that is away, slow or hanging holds up nothing: spans that do not fit
// into the queue are dropped, and counted.
package tracing
