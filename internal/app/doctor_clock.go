package app

import (
	"net/http"
	"time"

	"github.com/kmend/kmend/internal/doctor"
)

// off is the distance of a clock that says whole seconds from ours, at least: the
// answer came between asked and answered. 0: they may be the same.
func off(theirs, asked, answered time.Time) time.Duration {
	switch {
	case theirs.After(answered):
		return theirs.Sub(answered)
	case theirs.Add(time.Second).Before(asked):
		return theirs.Add(time.Second).Sub(asked)
	}
	return 0
}

// mostSkew is how far clocks may be apart: what is asked of the past is asked by its
// time (the flight recorder's, Prometheus' and the logs'), in steps of a second.
const mostSkew = time.Second

// clockLine is about somebody's clock.
func clockLine(name, whose string, by time.Duration) doctor.Line {
	if by.Abs() <= mostSkew {
		return doctor.Fine(name, "agrees with ours within %s", mostSkew)
	}
	way := "ahead of"
	if by < 0 {
		way = "behind"
	}
	return doctor.Wrong(name, "set the clocks by NTP (chrony, systemd-timesyncd) there and here: windows of the past are asked for by their time",
		"the clock of %s is at least %s %s ours", whose, by.Abs().Round(100*time.Millisecond), way)
}

// dated notes the Date header of answers.
type dated struct {
	next http.RoundTripper
	seen func(date, asked, answered time.Time)
}

func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := d.next.RoundTrip(r)
	if err == nil {
		if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			d.seen(at, asked, time.Now())
		}
	}
	return resp, err
}
