// Package metrics asks Prometheus on the way from an alert to its cause: which of the
// pods that the alert names are suspicious, and what the alert's expression, the pods'
// siblings, the hour before and the error budgets say about what was found.
// diagnose/investigate asks it; nothing that it says makes a finding.
//
// What is asked is what the configuration says, and the expressions of rules that
// Prometheus itself has: an expression from an alert is never run.
package metrics
