package picture

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/kmend/kmend/incident"
)

func diagnosis(throttled float64) *incident.Diagnosis {
	return &incident.Diagnosis{Target: incident.Target{Namespace: "shop", Pod: "web-1"}, Node: incident.Node{Name: "n1"},
		Window:   incident.Window{Start: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Seconds: 3},
		Ledger:   incident.Ledger{Threads: 4, WallMS: 12000, States: map[incident.State]float64{incident.OnCPU: 900, incident.Throttled: throttled, incident.Sleep: 11100 - throttled}},
		Findings: []incident.Finding{{Evidence: []string{"e2"}}},
		Evidence: []incident.Evidence{{ID: "e1", Histogram: []incident.Bucket{{UpTo: 9, Count: 9}}},
			{ID: "e2", Probe: "disk", Metric: "latency", Unit: "ms", Histogram: []incident.Bucket{{UpTo: 1, Count: 10}, {UpTo: 2, Count: 40}}}}}
}

// drawn are all pictures of an incident.
func drawn(t *testing.T, inc incident.Incident) (all []Picture) {
	t.Helper()
	for n := range Count(inc) {
		p, err := Draw(inc, n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func decoded(t *testing.T, p Picture) image.Image {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(p.PNG))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// runs are the lengths of the bars of a colour, from the top: one for each bar.
func runs(img image.Image, c color.RGBA) (out []int) {
	before := 0
	for y := range img.Bounds().Dy() {
		n := 0
		for x := margin + labelWidth; x < width-margin-textWidth; x++ {
			if img.At(x, y) == c {
				n++
			}
		}
		if n > 0 && before == 0 {
			out = append(out, n)
		}
		before = n
	}
	return out
}

func TestBarsAreAsLongAsTheirShares(t *testing.T) {
	inc := incident.Incident{Diagnosis: diagnosis(6000), Verification: &incident.Verification{Diagnosis: *diagnosis(60)}}
	all := drawn(t, inc)
	if len(all) != 2 {
		t.Fatalf("%d pictures", len(all))
	}
	room := width - 2*margin - labelWidth - textWidth
	long := func(shares ...float64) (out []int) {
		for _, s := range shares {
			out = append(out, int(s*float64(room)+.5))
		}
		return out
	}
	c := colors()
	equal := func(what string, got, want []int) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: bars of %v pixels, want %v", what, got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: bars of %v pixels, want %v", what, got, want)
			}
		}
	}
	// On CPU, throttled and asleep; then the two buckets of the cited histogram, and not those of e1.
	equal("evidence", runs(decoded(t, all[0]), c.before), long(.075, .5, .425, .25, 1))
	legend := barHeight // the mark that says which is before
	equal("before", runs(decoded(t, all[1]), c.before), append([]int{legend}, long(.075, .5, .425)...))
	equal("after", runs(decoded(t, all[1]), c.after), append([]int{legend}, long(.075, .005, .92)...))
	for i, words := range []string{"throttled 50% 6000 ms", "throttled 50% 6000 ms then 0.5% 60 ms"} {
		if !strings.Contains(all[i].Alt, words) || !strings.Contains(all[0].Alt, "e2: disk latency: to 1 ms 10, to 2 ms 40") {
			t.Errorf("the alt text of %s is %q", all[i].Name, all[i].Alt)
		}
	}
}

func TestSameBytes(t *testing.T) {
	inc := incident.Incident{Diagnosis: diagnosis(6000)}
	one, other := drawn(t, inc), drawn(t, incident.Incident{Diagnosis: diagnosis(600)})
	if two := drawn(t, inc); len(one) != 1 || !bytes.Equal(one[0].PNG, two[0].PNG) || bytes.Equal(one[0].PNG, other[0].PNG) {
		t.Error("two drawings of one incident differ, or those of two do not")
	}
}

// luminance and contrast are WCAG 2's.
func luminance(c color.RGBA) float64 {
	linear := func(v uint8) float64 {
		if s := float64(v) / 255; s > .04045 {
			return math.Pow((s+.055)/1.055, 2.4)
		}
		return float64(v) / 255 / 12.92
	}
	return .2126*linear(c.R) + .7152*linear(c.G) + .0722*linear(c.B)
}

func contrast(a, b color.RGBA) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + .05) / (min(x, y) + .05)
}

// Text reads on the card, and the card stands out in both of Slack's modes.
func TestContrast(t *testing.T) {
	light, dark := color.RGBA{0xff, 0xff, 0xff, 0xff}, color.RGBA{0x1a, 0x1d, 0x21, 0xff}
	c := colors()
	for _, p := range []struct {
		what  string
		a, b  color.RGBA
		least float64
	}{
		{"text on the card", c.text, c.card, 7}, {"faint text on the card", c.faint, c.card, 7},
		{"bars on their track", c.before, c.track, 3}, {"bars of after on their track", c.after, c.track, 3},
		{"the border in light mode", c.border, light, 3}, {"the border in dark mode", c.border, dark, 3}, {"the border and the card", c.border, c.card, 3},
	} {
		if got := contrast(p.a, p.b); got < p.least {
			t.Errorf("contrast of %s is %.2f, want %.1f", p.what, got, p.least)
		}
	}
	all := drawn(t, incident.Incident{Diagnosis: diagnosis(6000)})
	img := decoded(t, all[0])
	// What is drawn is the palette's, and no pixel lets Slack's background through.
	if img.At(0, 0) != c.border || img.At(5, 5) != c.card {
		t.Errorf("the border is %v and the card %v", img.At(0, 0), img.At(5, 5))
	}
	letters := 0
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			if _, _, _, a := img.At(x, y).RGBA(); a != 0xffff {
				t.Fatalf("pixel %d,%d is not opaque", x, y)
			}
			if img.At(x, y) == c.text {
				letters++
			}
		}
	}
	if letters < 500 {
		t.Errorf("%d pixels of text", letters)
	}
}

// Hostile names and histograms make no picture that does not end.
func TestBounds(t *testing.T) {
	d := diagnosis(6000)
	d.Target.Pod, d.Node.Name = strings.Repeat("ü\n\x1b", 5000), strings.Repeat("n", 5000)
	d.Evidence[1].Subject = strings.Repeat("x", 5000)
	for range 10000 {
		d.Evidence[1].Histogram = append(d.Evidence[1].Histogram, incident.Bucket{Count: math.MaxUint32})
	}
	d.Ledger.States[incident.IO] = math.Inf(1)
	all := drawn(t, incident.Incident{Diagnosis: d})
	if b := decoded(t, all[0]).Bounds(); b.Dx() != width || b.Dy() > 1500 || len([]rune(all[0].Alt)) > maxAlt || strings.ContainsAny(all[0].Alt, "\n\x1b") || len(all[0].PNG) > 200_000 {
		t.Errorf("%v, %d bytes, alt %.100q", b, len(all[0].PNG), all[0].Alt)
	}
	if _, err := Draw(incident.Incident{}, 0); Count(incident.Incident{}) != 0 || err == nil {
		t.Errorf("a picture of nothing, %v", err)
	}
}
