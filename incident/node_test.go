package incident

import "testing"

func TestSameNode(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"n1", "n1", true},
		{"n1", "N1", true},
		{"n1", "n1.example.com", true},
		{"N1.Example.com", "n1", true},
		{"n1.example.com", "N1.EXAMPLE.COM", true},
		{"n1", "n2", false},
		{"n1", "n11.example.com", false},
		{"n1.example.com", "n1.example.org", false},
		{"10.0.0.1", "10", false},
		{"10.0.0.1", "10.0.0.2", false},
		{"", "n1", false},
	} {
		if got := SameNode(tc.a, tc.b); got != tc.want {
			t.Errorf("SameNode(%q, %q) = %v", tc.a, tc.b, got)
		}
		if got := SameNode(tc.b, tc.a); got != tc.want {
			t.Errorf("SameNode(%q, %q) = %v", tc.b, tc.a, got)
		}
	}
}
