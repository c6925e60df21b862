package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

func rowOrder() []string {
	return []string{throttled, saturated, busy, "cpu.steal", retransmit, peerSlow, diskSlow, kernelLock, userLock, dbLock, gcPause, reclaim, oom, healthy}
}

func columnOrder(found []string) []string {
	names := append(rowOrder()[:13:13], "clean", "inconclusive", "error")
	for _, f := range found { // what the lab has no name for
		if !slices.Contains(names, f) {
			names = append(names, f)
		}
	}
	return names
}

// matrix counts the cases by the cause expected and the answer. Rows and columns
// without a case are left out.
type matrix struct {
	rows, columns []string
	cells         map[[2]string]int
}

func tabulate(results []result) matrix {
	m := matrix{cells: map[[2]string]int{}}
	var found []string
	for _, r := range results {
		if r.Skipped == "" {
			m.cells[[2]string{r.Expected, r.Found}]++
			found = append(found, r.Found)
		}
	}
	used := func(i int, names []string) []string {
		return slices.DeleteFunc(names, func(name string) bool {
			for k := range m.cells {
				if k[i] == name {
					return false
				}
			}
			return true
		})
	}
	m.rows, m.columns = used(0, rowOrder()), used(1, columnOrder(found))
	return m
}

// print writes the matrix as a Markdown table, which also reads well as text.
func (m matrix) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(t, "| expected \\ found first\t")
	for _, c := range m.columns {
		fmt.Fprintf(t, "| %s\t", c)
	}
	fmt.Fprintln(t, "|")
	fmt.Fprint(t, "|---\t")
	for range m.columns {
		fmt.Fprint(t, "|---:\t")
	}
	fmt.Fprintln(t, "|")
	for _, r := range m.rows {
		fmt.Fprintf(t, "| %s\t", r)
		for _, c := range m.columns {
			if n := m.cells[[2]string{r, c}]; n > 0 {
				fmt.Fprintf(t, "| %d\t", n)
			} else {
				fmt.Fprint(t, "| \t")
			}
		}
		fmt.Fprintln(t, "|")
	}
	_ = t.Flush()
}
