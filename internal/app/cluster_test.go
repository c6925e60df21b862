package app

import (
	"strings"
	"testing"
)

// In a pod, an API server that is not reached is often a NetworkPolicy.
func TestNoConnectionToTheAPIServer(t *testing.T) {
	_, err := dialFromPod(t.Context(), "tcp", "127.0.0.1:1")
	for _, want := range []string{"connecting to the API server: dial tcp 127.0.0.1:1", "connection refused", "NetworkPolicy (egress)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}
