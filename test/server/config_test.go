package server

import (
	"strings"
	"testing"
)

// A dry run is kmend's default: what runs so proves it only if nothing says it.
func TestDryRunIsLeftToTheDefault(t *testing.T) {
	if text := (Options{DryRun: true}).yaml(); strings.Contains(text, "dryRun") {
		t.Errorf("the configuration sets what is the default:\n%s", text)
	}
	if text := (Options{}).yaml(); strings.Count(text, "\ndryRun: false\n") != 1 {
		t.Errorf("the configuration does not switch the dry run off:\n%s", text)
	}
}
