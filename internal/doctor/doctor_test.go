package doctor

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func fixed(group, name string, after time.Duration) Check {
	return Check{Group: group, Name: name, Run: func(ctx context.Context) []Line {
		select {
		case <-time.After(after):
			return []Line{Fine("", "there")}
		case <-ctx.Done():
			return []Line{Wrong("", "start it", "%v", context.Cause(ctx))}
		}
	}}
}

// Checks run side by side, the lines keep the checks' order, and whoever waits for
// longer than two seconds hears for what.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told [][]string
		started := time.Now()
		checks := []Check{fixed("a", "slow", 5*time.Second), fixed("b", "quick", time.Millisecond), fixed("a", "late", time.Minute)}
		lines := Run(t.Context(), checks, func(names []string) { told = append(told, names) })
		if took := time.Since(started); took != DefaultLimit {
			t.Errorf("it took %s, want the limit of the slowest: %s", took, DefaultLimit)
		}
		want := []Line{{"a", "slow", OK, "there", ""}, {"b", "quick", OK, "there", ""}, {"a", "late", Todo, errLate.Error(), "start it"}}
		if !reflect.DeepEqual(lines, want) {
			t.Errorf("got %+v, want %+v", lines, want)
		}
		if len(told) < 3 || !reflect.DeepEqual(told[0], []string{"slow", "late"}) || !reflect.DeepEqual(told[3], []string{"late"}) {
			t.Errorf("told %v", told)
		}
	})
}

// A check that heeds no limit, one that panics and one without an answer end the others no worse.
func TestRunBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		deaf := Check{Group: "g", Name: "deaf", Limit: time.Second, Run: func(context.Context) []Line { <-end; return nil }}
		broken := Check{Group: "g", Name: "broken", Run: func(context.Context) []Line { panic("oh") }}
		silent := Check{Group: "g", Name: "silent", Run: func(context.Context) []Line { return nil }}
		lines := Run(t.Context(), []Check{deaf, broken, silent}, nil)
		close(end)
		if len(lines) != 2 || lines[0].Found != "no answer within 1s" || lines[0].Status != Todo || lines[1].Found != "the check itself failed: oh" || lines[1].Status != Todo {
			t.Errorf("got %+v", lines)
		}
	})
}

func TestText(t *testing.T) {
	r := NewReport(time.Unix(0, 0), []Line{
		{"configuration", "kmend.yaml", OK, "2 runbooks", ""},
		{"agents", "node n1", Todo, "no agent\x1b[2J is ready\nthere", "apply deploy/kmend.yaml"},
		{"configuration", "llm", Off, "not configured", ""},
	})
	if r.OK {
		t.Error("with something to do the report is ok")
	}
	var b strings.Builder
	if err := Text(&b, r, false); err != nil {
		t.Fatal(err)
	}
	want := `configuration
  ok    kmend.yaml  2 runbooks
  -     llm         not configured
agents
  TODO  node n1     no agent�[2J is ready there
                    -> apply deploy/kmend.yaml
1 thing is to be done
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := Text(&b, r, true); err != nil || !strings.Contains(b.String(), red+"TODO"+plain) {
		t.Errorf("in colour: %q, %v", b.String(), err)
	}
	text, err := json.Marshal(r)
	if err != nil || !strings.HasPrefix(string(text), `{"apiVersion":"kmend.dev/v1","kind":"DoctorReport","ok":false,"checkedAt":"1970-01-01T00:00:00Z","lines":[{"group":"configuration","name":"kmend.yaml","status":"ok","found":"2 runbooks"},`) {
		t.Errorf("%s, %v", text, err)
	}
	if !NewReport(time.Now(), r.Lines[:1]).OK {
		t.Error("with nothing to do the report is not ok")
	}
}
