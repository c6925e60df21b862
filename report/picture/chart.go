package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"
	"unicode"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// chart is what is drawn: panels below one another.
type chart struct {
	title, under string
	panels       []panel
}

// panel is rows of bars below a title; compared: the first bar of a row is before,
// the second after.
type panel struct {
	title    string
	compared bool
	rows     []row
}

type row struct {
	label string
	bars  []bar
}

// bar is a share, 0..1, with what is written beside it.
type bar struct {
	share float64
	text  string
}

// Measures in pixels. Slack shows a picture about half as wide on a screen of a
// computer, so the text is large.
const (
	width      = 960
	margin     = 28
	labelWidth = 200
	textWidth  = 200
	barHeight  = 18
	rowGap     = 12
	lineHeight = 30
	big, small = 24.0, 18.0 // of the text
)

// palette are the colours. The tests hold their contrasts: text on the card, bars on the card, and the
// card's border on Slack's light and dark background.
type palette struct{ card, border, text, faint, before, after, track color.RGBA }

func colors() palette {
	rgb := func(v uint32) color.RGBA { return color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 0xff} }
	return palette{card: rgb(0xfbfbfc), border: rgb(0x77777b), text: rgb(0x1d1c1d), faint: rgb(0x4a4a4e), before: rgb(0xc2410c), after: rgb(0x0f766e), track: rgb(0xe8e8ea)}
}

// height is how high the chart is.
func (c chart) height() int {
	h := 2*margin + 2*lineHeight + rowGap
	for _, p := range c.panels {
		h += p.height()
	}
	return h
}

func (p panel) height() int {
	h := 0
	if p.title != "" {
		h += lineHeight
	}
	if p.compared {
		h += lineHeight
	}
	for _, r := range p.rows {
		h += len(r.bars)*barHeight + rowGap
	}
	return h + rowGap
}

// pen draws onto a picture.
type pen struct {
	*image.RGBA
	palette
	big, small font.Face
}

func (c chart) draw() ([]byte, error) {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	p := pen{RGBA: image.NewRGBA(image.Rect(0, 0, width, c.height())), palette: colors()}
	for face, size := range map[*font.Face]float64{&p.big: big, &p.small: small} {
		if *face, err = opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull}); err != nil {
			return nil, err
		}
	}
	p.fill(p.Bounds(), p.border)
	p.fill(p.Bounds().Inset(2), p.card)
	y := margin
	p.write(margin, y, width-2*margin, c.title, p.big, p.text)
	p.write(margin, y+lineHeight, width-2*margin, c.under, p.small, p.faint)
	y += 2*lineHeight + rowGap
	for _, panel := range c.panels {
		p.panel(y, panel)
		y += panel.height()
	}
	var b bytes.Buffer
	err = png.Encode(&b, p.RGBA)
	return b.Bytes(), err
}

func (p pen) panel(y int, c panel) {
	if c.title != "" {
		p.write(margin, y, width-2*margin, c.title, p.small, p.text)
		y += lineHeight
	}
	if c.compared { // which is which, not by the colour alone
		x := margin + labelWidth
		for i, word := range []string{"upper: before", "lower: after"} {
			p.fill(image.Rect(x, y+4, x+barHeight, y+4+barHeight), p.of(i))
			p.write(x+barHeight+8, y, 200, word, p.small, p.text)
			x += 200
		}
		y += lineHeight
	}
	room := width - 2*margin - labelWidth - textWidth
	for _, r := range c.rows {
		p.write(margin, y+(len(r.bars)*barHeight-24)/2, labelWidth-10, r.label, p.small, p.text)
		for i, b := range r.bars {
			at := image.Rect(margin+labelWidth, y+1, margin+labelWidth+room, y+barHeight-1)
			p.fill(at, p.track)
			at.Max.X = at.Min.X + int(min(max(b.share, 0), 1)*float64(room)+.5)
			if b.share > 0 {
				at.Max.X = max(at.Max.X, at.Min.X+2) // little is not nothing
			}
			p.fill(at, p.of(i))
			p.write(margin+labelWidth+room+12, y-3, textWidth-12, b.text, p.small, p.text)
			y += barHeight
		}
		y += rowGap
	}
}

func (p pen) of(i int) color.RGBA { return []color.RGBA{p.before, p.after}[i] }

func (p pen) fill(r image.Rectangle, c color.RGBA) {
	draw.Draw(p, r, image.NewUniform(c), image.Point{}, draw.Src)
}

// write writes one line whose top is y, cut to room pixels.
func (p pen) write(x, y, room int, s string, face font.Face, c color.RGBA) {
	d := font.Drawer{Dst: p, Src: image.NewUniform(c), Face: face, Dot: fixed.P(x, y+face.Metrics().Ascent.Round())}
	for runes := []rune(s); len(runes) > 0 && d.MeasureString(s) > fixed.I(room); s = string(runes) + "…" {
		runes = runes[:len(runes)-1]
	}
	d.DrawString(s)
}

// words is what the chart shows, as text.
func (c chart) words() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s).", c.title, c.under)
	for _, p := range c.panels {
		if p.title != "" {
			b.WriteString(" " + p.title + ":")
		}
		for i, r := range p.rows {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(" " + r.label + " " + r.bars[0].text)
			if len(r.bars) > 1 {
				b.WriteString(" then " + r.bars[1].text)
			}
		}
		b.WriteByte('.')
	}
	return text(b.String(), maxAlt)
}

// text is hostile text on one line with at most n characters.
func text(s string, n int) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))), " ")
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}
