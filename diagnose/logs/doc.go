// Package logs is what a diagnosis is held against: the log lines of the target
// around the measured window, from Loki or Elasticsearch (or OpenSearch),
// grouped by template and compared with the time before. They support a finding
// or contradict it and are evidence with ids of their own. They never make or
// change one: no verdict, no plan and no action depends on what a program, or
// who writes into its log, says.
//
// It is read at the end of an investigation. Every line is hostile text: what is
// read is bounded in the query and again here, and what is shown is redacted.
package logs
