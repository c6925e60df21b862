package logs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/incident"
)

// Kinds of an observation: what is special about the lines, or how much was read.
const (
	newError = "log_new_error" // an error that was not there before
	oldError = "log_error"
	newLines = "log_new"
	usual    = "log"
	account  = "log_account"
)

// Bounds of what is shown of a template, in bytes.
const (
	maxSubject = 200
	maxSample  = 240
)

// say is how much was read, and the templates: errors and what is new first. Only
// those that lines of the window have are shown.
func (r *Reader) say(ctx context.Context, f reading, d incident.Diagnosis) investigate.Observed {
	ctx, cancel := context.WithTimeout(ctx, parseWithin)
	defer cancel()
	ts := newTemplates()
	r.group(ctx, ts, &f.now, false)
	r.group(ctx, ts, &f.before, true)
	var all []said
	for _, t := range ts.all {
		if t.now > 0 {
			all = append(all, judge(t, !f.before.Cut, d))
		}
	}
	slices.SortStableFunc(all, func(a, b said) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.now, a.now), strings.Compare(a.String(), b.String()))
	})
	var o investigate.Observed
	for i, s := range all[:min(len(all), r.opts.Templates)] {
		id := fmt.Sprintf("%s%d", r.opts.Letter, i+1)
		o.Evidence = append(o.Evidence, incident.Evidence{ID: id, Probe: r.Name(), Metric: "log_template", Subject: r.opts.Redact.Redact(ellipsis(s.String(), maxSubject)), Value: float64(s.now), Unit: "lines"})
		o.Observations = append(o.Observations, incident.Observation{Source: r.Name(), Kind: s.kind, Stance: s.stance, Message: s.message(f, r.opts.Baseline), Evidence: []string{id}})
	}
	o.Observations = append(o.Observations, incident.Observation{Source: r.Name(), Kind: account, Message: r.account(f, len(all))})
	return o
}

// parseWithin bounds the time that is spent on reading lines: some milliseconds a
// hundred, but strangers may write what takes long.
const parseWithin = time.Second

// group adds the lines of a batch, as many as there is time for.
func (r *Reader) group(ctx context.Context, ts *templates, b *Batch, baseline bool) {
	for i, l := range b.Lines {
		if ctx.Err() != nil {
			b.Cut, b.Note = true, fmt.Sprintf("there was no time for %d of %d lines", len(b.Lines)-i, len(b.Lines))
			b.Lines = b.Lines[:i]
			return
		}
		ts.add(parse(l, r.opts.Redact), baseline)
	}
}

// said is a template with what it means.
type said struct {
	*template
	kind   string
	stance incident.Stance
	rank   int
}

// judge says what is special about a template. complete: the baseline has
// everything, so that what is not in it is new.
func judge(t *template, complete bool, d incident.Diagnosis) said {
	isNew := complete && t.before == 0
	s := said{template: t, kind: usual, rank: 3}
	switch {
	case t.level == failure && isNew:
		s.kind, s.rank = newError, 0
	case t.level == failure:
		s.kind, s.rank = oldError, 1
	case isNew:
		s.kind, s.rank = newLines, 2
	}
	if f, ok := d.RootCause(); ok {
		if s.stance = stance(t.signs, isNew, f.Cause); s.stance != "" {
			s.rank = min(s.rank, 1)
		}
	}
	return s
}

// message is how often, how often before, and one line.
func (s said) message(f reading, baseline time.Duration) string {
	now := lines(s.now, s.level)
	if f.now.Cut {
		now = "at least " + now
	}
	before := "none in"
	switch {
	case s.before > 0 && f.before.Cut:
		before = fmt.Sprintf("at least %d in", s.before)
	case s.before > 0:
		before = fmt.Sprintf("%d in", s.before)
	case f.before.Cut:
		before = "none in what was read of"
	}
	return fmt.Sprintf("%s in %s, %s the %s before: %q", now, short(f.around), before, short(baseline), ellipsis(s.sample, maxSample))
}

func lines(n int, l level) string {
	text := "1 line"
	if n != 1 {
		text = fmt.Sprintf("%d lines", n)
	}
	if l != unknown {
		text = fmt.Sprintf("%d %s", n, strings.Replace(text[strings.IndexByte(text, ' ')+1:], "line", string(l)+" line", 1))
	}
	return text
}

// account says how much was read.
func (r *Reader) account(f reading, templates int) string {
	if len(f.now.Lines)+len(f.before.Lines) == 0 && !f.now.Cut && !f.before.Cut {
		return fmt.Sprintf("no lines of the target in %s; does it write any, and are the names of labels or fields those of the store?", short(f.around+r.opts.Baseline))
	}
	text := fmt.Sprintf("%d lines of %s and %d of the %s before, %d templates", len(f.now.Lines), short(f.around), len(f.before.Lines), short(r.opts.Baseline), templates)
	for _, x := range []struct {
		of    string
		batch Batch
	}{{"window", f.now}, {"baseline", f.before}} {
		switch {
		case x.batch.Note != "":
			text += fmt.Sprintf("; not all of the %s: %s", x.of, x.batch.Note)
		case x.batch.Cut:
			text += fmt.Sprintf("; not all of the %s: at most %d lines a query", x.of, r.opts.Limit)
		}
	}
	return text
}

// short is a duration as a person writes it: "5m3s", "15m".
func short(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func ellipsis(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return cut(s, n-len("…")) + "…"
}
