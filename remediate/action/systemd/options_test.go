package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMemoryOfTheMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "meminfo")
	for text, want := range map[string]uint64{"MemFree: 1 kB\nMemTotal:       2048 kB\n": 2 << 20, "MemTotal: much kB\n": 0, "MemFree: 1 kB\n": 0} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := memory(file)
		if got != want || (err == nil) != (want > 0) || err != nil && !strings.Contains(err.Error(), "reading the machine's memory") {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
