package scale

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// event is a line of the API server's audit log.
type event struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  struct {
		Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	RequestObject json.RawMessage `json:"requestObject"`
}

// what is the request without the names in it.
func (e event) what() string {
	r := e.ObjectRef.Resource
	if e.ObjectRef.Subresource != "" {
		r += "/" + e.ObjectRef.Subresource
	}
	how := ""
	switch {
	case strings.Contains(e.RequestURI, "dryRun=All"):
		how = " (dry run)"
	case e.Verb == "list" && strings.Contains(e.RequestURI, "spec.nodeName"):
		how = " of a node"
	case e.Verb == "list" && e.ObjectRef.Namespace == "":
		how = " of all namespaces"
	}
	return e.Verb + " " + r + how
}

// unbounded reports whether the answer grows with the cluster.
func (e event) unbounded() bool {
	return e.Verb == "list" && e.ObjectRef.Namespace == "" && !strings.Contains(e.RequestURI, "spec.nodeName") && !strings.Contains(e.RequestURI, "limit=")
}

// events reads what is new in the audit log since an offset.
func (c *cluster) events(from int64) (out []event, to int64) {
	c.Helper()
	f, err := os.Open(c.api.AuditLog())
	if err != nil {
		c.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		c.Fatal(err)
	}
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out, from // half a line comes again
		}
		if err != nil {
			c.Fatal(err)
		}
		from += int64(len(line))
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			c.Fatalf("the audit log has the line %q: %v", line, err)
		}
		out = append(out, e)
	}
}

// requests counts kmend's requests by what they were. Watches are not among them:
// they are there once, and are no incident's.
type requests map[string]int

func count(events []event) requests {
	r := requests{}
	for _, e := range events {
		if e.Verb != "watch" {
			r[e.what()]++
		}
	}
	return r
}

// Sum is all of them.
func (r requests) Sum() (n int) {
	for _, times := range r {
		n += times
	}
	return n
}

func (r requests) String() string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(r)) {
		out = append(out, fmt.Sprintf("%d %s", r[what], what))
	}
	return strings.Join(out, ", ")
}
