package picture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Picture is a PNG with what it shows in words.
type Picture struct {
	Name  string // of the file
	Title string
	Alt   string // for who does not see it; at most maxAlt bytes
	PNG   []byte
}

const (
	maxAlt        = 900
	maxHistograms = 3  // in one picture
	maxBuckets    = 24 // of one histogram
)

// Count is how many pictures an incident has evidence for: one when it was measured, where
// its threads were and the histograms that its findings cite; another when it was
// measured again, before and after. It only grows as an incident goes on.
func Count(inc incident.Incident) int {
	switch d, v := inc.Diagnosis, inc.Verification; {
	case d == nil || d.Ledger.WallMS <= 0:
		return 0
	case v == nil || v.Diagnosis.Ledger.WallMS <= 0:
		return 1
	}
	return 2
}

// Draw is one of an incident's pictures, from 0.
func Draw(inc incident.Incident, n int) (Picture, error) {
	if n < 0 || n >= Count(inc) {
		return Picture{}, fmt.Errorf("drawing picture %d of incident %s: it has evidence for %d", n, inc.ID, Count(inc))
	}
	d := *inc.Diagnosis
	file := "evidence.png"
	c := chart{title: "Where the threads of " + text(d.Target.String(), 60) + " were", under: window(d.Window) + " on node " + text(d.Node.Name, 40),
		panels: append([]panel{ledger(d.Ledger, nil)}, histograms(d)...)}
	if n == 1 {
		again := inc.Verification.Diagnosis
		file = "before-and-after.png"
		c = chart{title: "Before and after", under: "before: " + window(d.Window) + "; after: " + window(again.Window), panels: []panel{ledger(d.Ledger, &again.Ledger)}}
	}
	png, err := c.draw()
	if err != nil {
		return Picture{}, fmt.Errorf("drawing %s of incident %s: %w", file, inc.ID, err)
	}
	return Picture{Name: file, Title: c.title, Alt: c.words(), PNG: png}, nil
}

func window(w incident.Window) string {
	return fmt.Sprintf("%.3g s at %s UTC", w.Seconds, w.Start.UTC().Format("2006-01-02 15:04:05"))
}

// ledger has a row for each state that threads were in, before or after.
func ledger(before incident.Ledger, after *incident.Ledger) panel {
	p := panel{compared: after != nil}
	for _, s := range incident.States() {
		r := row{label: strings.ReplaceAll(string(s), "_", " "), bars: []bar{part(before, s)}}
		if after != nil {
			r.bars = append(r.bars, part(*after, s))
		}
		if slices.ContainsFunc(r.bars, func(b bar) bool { return b.share > 0 }) {
			p.rows = append(p.rows, r)
		}
	}
	return p
}

// part is one state's share of the time of all threads.
func part(l incident.Ledger, s incident.State) bar {
	if l.WallMS <= 0 {
		return bar{text: "not measured"}
	}
	share := l.States[s] / l.WallMS
	return bar{share: share, text: fmt.Sprintf("%.3g%%  %.0f ms", 100*share, l.States[s])}
}

// histograms are those of the evidence that the findings cite, as they come.
func histograms(d incident.Diagnosis) (out []panel) {
	for _, f := range d.Findings {
		for _, e := range d.Evidence {
			if len(e.Histogram) == 0 || !slices.Contains(f.Evidence, e.ID) || len(out) == maxHistograms {
				continue
			}
			if p := histogram(e); !slices.ContainsFunc(out, func(had panel) bool { return had.title == p.title }) {
				out = append(out, p)
			}
		}
	}
	return out
}

// histogram has a row for each bucket; of too many, the last ones are one.
func histogram(e incident.Evidence) panel {
	p := panel{title: text(fmt.Sprintf("%s: %s %s %s", e.ID, e.Probe, strings.ReplaceAll(e.Metric, "_", " "), e.Subject), 80)}
	var most, above uint64
	for i, b := range e.Histogram {
		if i >= maxBuckets {
			above += b.Count
			continue
		}
		most = max(most, b.Count)
	}
	most = max(most, above, 1)
	for _, b := range e.Histogram[:min(len(e.Histogram), maxBuckets)] {
		p.rows = append(p.rows, row{label: fmt.Sprintf("to %.4g %s", b.UpTo, text(e.Unit, 10)), bars: []bar{{float64(b.Count) / float64(most), fmt.Sprint(b.Count)}}})
	}
	if above > 0 {
		p.rows = append(p.rows, row{label: "more", bars: []bar{{float64(above) / float64(most), fmt.Sprint(above)}}})
	}
	return p
}
