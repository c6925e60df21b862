package llm

import "testing"

// TestBuiltInIsGrounded: what kmend says of itself stands up to the checker, which
// therefore does not drop what is true.
func TestBuiltInIsGrounded(t *testing.T) {
	said, lost := 0, 0
	for name, inc := range recorded(t) {
		s := BuiltIn(inc)
		if len(s.Title) != 1 || len(s.RootCause) == 0 || len(s.Done) == 0 && inc.Outcome != "" {
			t.Errorf("%s: says too little: %+v", name, s)
		}
		_, out, err := Check(inc, Redactor{}, s)
		if err != nil {
			t.Fatal(err)
		}
		said, lost = said+s.Len(), lost+len(out)
		for _, d := range out {
			t.Logf("%s: %s %q: %s %s", name, d.Section, d.Text, d.Reason, d.Detail)
		}
	}
	t.Logf("%d sentences, %d not supported", said, lost)
	if lost*50 > said {
		t.Errorf("%d of %d sentences are not supported; want 2%% at most", lost, said)
	}
}
