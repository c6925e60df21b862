package main

import (
	"fmt"
	"slices"
	"strings"
)

const (
	rightAtLeast = 0.98 // of the faulty cases, the first finding
	ledgerAtMost = 0.01
	noisyCPUs    = 0.3 // what strangers must hold for a case to be done again
	noisySteal   = 0.1 // or the hypervisor take
)

// found is the answer in one word: the first cause, or the verdict without one.
func (d diagnosis) found() string {
	if len(d.Findings) > 0 && d.Findings[0].Verdict == "confirmed" {
		return d.Findings[0].Cause
	}
	return d.Verdict
}

// confirmed are the causes that are confirmed, in the order of the findings.
func (d diagnosis) confirmed() []string {
	var out []string
	for _, f := range d.Findings {
		if f.Verdict == "confirmed" {
			out = append(out, f.Cause)
		}
	}
	return out
}

// judge says what is wrong with the answer; empty if nothing is.
func (t trial) judge(d diagnosis) string {
	causes := d.confirmed()
	if t.expect == healthy {
		if len(causes) > 0 {
			return "confirmed about a healthy target: " + strings.Join(causes, ", ")
		}
		return ""
	}
	first := d.found()
	if t.doubt != "" && first == "inconclusive" {
		if said := d.Findings[0].Message; !strings.Contains(said, t.expect) || !strings.Contains(said, t.doubt) {
			return fmt.Sprintf("inconclusive, and does not name %s and %s", t.expect, t.doubt)
		}
		return ""
	}
	if first != t.expect && !slices.Contains(t.or, first) {
		return fmt.Sprintf("found %s first, not %s", first, strings.Join(append([]string{t.expect}, t.or...), " or "))
	}
	for _, also := range append([]string{t.expect}, t.with...) {
		if len(t.with) > 0 && !slices.Contains(causes, also) {
			return also + " is not among the findings"
		}
	}
	return ""
}

// totals are what decides the lab's status.
type totals struct {
	Faulty      int     `json:"faulty"`
	Right       int     `json:"right"`
	Healthy     int     `json:"healthy"`
	FalseAlarms int     `json:"false_alarms"`
	NotClean    int     `json:"healthy_not_clean"` // healthy, and kmend could not say so
	Skipped     int     `json:"skipped"`
	WorstLedger float64 `json:"worst_ledger"`
}

func count(results []result) totals {
	var n totals
	for _, r := range results {
		n.WorstLedger = max(n.WorstLedger, r.LedgerOff)
		switch {
		case r.Skipped != "":
			n.Skipped++
		case r.Expected == healthy:
			n.Healthy++
			if r.Wrong != "" {
				n.FalseAlarms++
			} else if r.Found != "clean" {
				n.NotClean++
			}
		default:
			n.Faulty++
			if r.Wrong == "" {
				n.Right++
			}
		}
	}
	return n
}

// failures says which of the lab's promises are broken.
func (n totals) failures() []string {
	var out []string
	if float64(n.Right) < rightAtLeast*float64(n.Faulty) {
		out = append(out, fmt.Sprintf("%d of %d faults right, fewer than %.0f%%", n.Right, n.Faulty, 100*rightAtLeast))
	}
	if n.FalseAlarms > 0 {
		out = append(out, fmt.Sprintf("%d of %d healthy controls with a confirmed finding", n.FalseAlarms, n.Healthy))
	}
	if n.WorstLedger > ledgerAtMost {
		out = append(out, fmt.Sprintf("a ledger is off by %.2f%%, more than %.0f%%", 100*n.WorstLedger, 100*ledgerAtMost))
	}
	if n.Faulty+n.Healthy == 0 {
		out = append(out, "no case ran")
	}
	return out
}
