package llm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Bounds of what the model sees.
const (
	maxAlerts   = 5
	maxLabels   = 20 // of an alert, and as many annotations
	maxLabel    = 200
	maxEvidence = 100
	maxFrames   = 8
	maxEvents   = 40
	maxHops     = 10
	maxObserved = 20 // observations, and twice as many pieces of their evidence
	maxQuoted   = 300
	maxFact     = 2000     // bytes of one fact
	maxPacket   = 24 << 10 // bytes of all facts
)

// packet is what the model sees of an incident, and what the checker believes.
type packet struct {
	facts []fact
	text  string // JSON, one fact a line
}

// newPacket writes an incident down, redacted and within its bounds.
func newPacket(inc incident.Incident, r Redactor) (packet, error) {
	var p packet
	var b strings.Builder
	for _, f := range facts(inc, r) {
		f.Text, f.own = cut(r.Redact(f.Text), maxFact), cut(r.Redact(f.own), maxFact)
		line, err := json.Marshal(f) // < and > are escaped, so no line ends the fence
		if err != nil {
			return packet{}, fmt.Errorf("encoding fact %s: %w", f.ID, err)
		}
		if b.Len()+len(line) > maxPacket {
			continue // a shorter one behind it may fit
		}
		p.facts = append(p.facts, f)
		b.Write(line)
		b.WriteByte('\n')
	}
	p.text = b.String()
	return p, nil
}

// digest names what the packet says.
func (p packet) digest() string {
	sum := sha256.Sum256([]byte(p.text))
	return hex.EncodeToString(sum[:])
}

// fenced is the packet between two lines that nothing in it can write: they hold
// its digest.
func (p packet) fenced() string {
	mark := p.digest()[:16]
	return fmt.Sprintf("<facts %s>\n%s</facts %s>\n", mark, p.text, mark)
}

// cut is s with at most limit bytes, in whole characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-3], "") + "…"
}
