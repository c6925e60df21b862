// Package diagnose is the second stage: from an alert's labels to a target, from
// the target to the node it runs on and the agent that serves that node, and
// from the agent's measurement to a diagnosis. What stands in the way, a pod
// that is gone or an agent that does not answer, is part of the answer: an
// inconclusive diagnosis that says why.
//
// It does not link the probes: an agent in this process and one across the
// network are both a Measurer.
package diagnose
