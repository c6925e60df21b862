// Package incident holds the nouns that every stage of kmend shares: the alert
// that arrives, the target it names, the evidence the kernel gives, the finding
// it confirms, the plan, the decisions about it, what was done and how it ended.
//
// It imports the standard library only. Stages import incident and never one
// another; internal/respond calls them in order.
package incident

// APIVersion is the apiVersion of every document kmend reads or writes.
const APIVersion = "kmend.dev/v1"
