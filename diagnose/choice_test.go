package diagnose

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmend/kmend/incident"
)

// closer is a client that knows whether it was closed.
type closer struct {
	historian
	closed bool
}

func (c *closer) Close() { c.closed = true }

// Nodes come and go: the client of one that nobody asks about any more is closed.
func TestClientsOfNodesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled := map[string][]*closer{}
		c := newChoice(Options{NodeName: "here", Static: map[string]string{"n1": "http://n1", "n2": "http://n2", "n3": "http://n3"},
			Dial: func(url string) (Measurer, error) {
				dialled[url] = append(dialled[url], &closer{})
				return dialled[url][len(dialled[url])-1], nil
			}})
		ask := func(node string) {
			t.Helper()
			if _, err := c.of(t.Context(), incident.Target{Node: node}); err != nil {
				t.Fatal(err)
			}
		}
		ask("n1")
		ask("n2")
		time.Sleep(forgotten - time.Minute)
		ask("n2")
		time.Sleep(2 * time.Minute)
		ask("n3")
		if !dialled["http://n1"][0].closed || dialled["http://n2"][0].closed || len(c.clients) != 2 {
			t.Errorf("n1 was not asked for an hour, n2 was a minute ago; clients are %+v", c.clients)
		}
		ask("n2")
		ask("n1")
		if len(dialled["http://n1"]) != 2 || len(dialled["http://n2"]) != 1 {
			t.Errorf("%d clients of n1, %d of n2; want 2 and 1", len(dialled["http://n1"]), len(dialled["http://n2"]))
		}
	})
}
