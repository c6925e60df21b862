package logs

import (
	"strings"
	"testing"

	"github.com/kmend/kmend/internal/redact"
)

// Lines as programs write them: what is kept of each, and the level.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, line, level string // as the store has them
		text              string
		want              level
	}{
		{"go's slog", `time=2026-11-23T07:00:00Z level=ERROR msg="reading cart" err="i/o timeout"`, "", `time=2026-11-23T07:00:00Z level=ERROR msg="reading cart" err="i/o timeout"`, failure},
		{"json", `{"level":"warn","msg":"slow","ts":1.5}`, "", "slow", warning},
		{"json with an error", `{"severity":"ERROR","message":"cannot pay","error":"connection refused","n":{"a":[1]}}`, "", "cannot pay: connection refused", failure},
		{"no json", `{"level":"error" and more`, "", `{"level":"error" and more`, failure},
		{"klog", "E1123 07:00:00.000000       1 reflector.go:147] failed to list", "", "E1123 07:00:00.000000 1 reflector.go:147] failed to list", failure},
		{"nginx", "2026/11/23 07:00:00 [crit] 7#7: *1 connect() failed", "", "2026/11/23 07:00:00 [crit] 7#7: *1 connect() failed", failure},
		{"PostgreSQL", "2026-11-23 07:00:00 UTC [4711] LOG:  process 4711 still waiting for ShareLock", "", "2026-11-23 07:00:00 UTC [4711] LOG: process 4711 still waiting for ShareLock", info},
		{"the store knows it", "connect failed", "err", "connect failed", failure},
		{"a panic", "panic: runtime error: index out of range\n\ngoroutine 1 [running]:", "", "panic: runtime error: index out of range", failure},
		{"colours", "\x1b[31mERROR\x1b[0m it broke \u202e\x07now", "", "ERROR it broke now", failure},
		{"no word of a level", "no errors in 5 checks", "", "no errors in 5 checks", unknown},
		{"a secret", "connecting with password=hunter2 to db", "", "connecting with password=[secret] to db", unknown},
		{"a secret in json", `{"msg":"login","error":"token=abcdef refused"}`, "", "login: token=[secret] refused", unknown},
		{"bytes that are no text", "bad \xff\xfe bytes", "", "bad \uFFFD bytes", unknown},
		{"empty", "", "", "", unknown},
	} {
		got := parse(Line{Text: tt.line, Level: tt.level}, redact.Redactor{})
		if got.text != tt.text || got.level != tt.want {
			t.Errorf("%s: %q, level %q; want %q, %q", tt.name, got.text, got.level, tt.text, tt.want)
		}
	}
}

// However long a line is, little is kept of it, and no half of a secret.
func TestParseBounds(t *testing.T) {
	for n := maxKept - 60; n < maxKept+20; n++ {
		got := parse(Line{Text: strings.Repeat("x", n) + " password=hunter2secret " + strings.Repeat("y", 1<<20)}, redact.Redactor{}).text
		if len(got) > maxKept || strings.Contains(got, "hunter") {
			t.Fatalf("%d bytes before it: %d are kept, with %q", n, len(got), got[max(0, len(got)-30):])
		}
	}
	for n := maxLine - 20; n < maxLine; n++ {
		if got := parse(Line{Text: strings.Repeat("é ", n/3) + "sk-" + strings.Repeat("k", 40)}, redact.Redactor{}).text; strings.Contains(got, "sk-") || len(got) > maxKept {
			t.Fatalf("half of a key: %q", got)
		}
	}
}
