package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// bar draws a share of 0..1 in n columns, to an eighth of a column. What is more
// than nothing is at least the thinnest line.
func bar(share float64, n int) string {
	share = min(max(share, 0), 1)
	eighths := int(share*float64(n)*8 + 0.5)
	if eighths == 0 && share > 0 {
		eighths = 1
	}
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return pad(text, n)
}

// ms writes milliseconds: 5196 ms, 8.3 ms, 0 ms.
func ms(v float64) string {
	if v != 0 && v < 9.95 {
		return strconv.FormatFloat(v, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " ms"
}

// percent writes a share: 43%, 0.4%, <0.1%.
func percent(share float64) string {
	switch p := share * 100; {
	case p == 0:
		return "0%"
	case p < 0.1:
		return "<0.1%"
	case p < 0.95:
		return strconv.FormatFloat(p, 'f', 1, 64) + "%"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + "%"
	}
}

// number writes a value without needless digits.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// took writes how long something lasted: 12 ms, 3.05 s, 4m10s.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + took(-d)
	case d < time.Millisecond && d > 0:
		return "<1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
	}
}

// stamp writes a time: always UTC, so that reports from two machines compare.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// counted is "1 thread", "4 threads".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
