package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// info is what a server's INFO says, field by field.
type info map[string]string

func (c *conns) info(ctx context.Context, addr string) (info, error) {
	out := info{}
	for _, section := range []string{"server", "replication", "persistence"} {
		text, err := c.text(ctx, addr, "INFO", section)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				out[k] = v
			}
		}
	}
	return out, nil
}

func (i info) number(field string) (int64, error) {
	n, err := strconv.ParseInt(i[field], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("its INFO has no number %s", field)
	}
	return n, nil
}

// leads is an error unless the server is a master that serves.
func (i info) leads() error {
	switch {
	case i["role"] != "master":
		return fmt.Errorf("it is not a master: its role is %q", clean(i["role"]))
	case i["loading"] != "0":
		return errors.New("it is loading its data")
	case i["run_id"] == "" || i["master_replid"] == "":
		return errors.New("its INFO has no run_id or no master_replid")
	}
	return nil
}

// follows is an error unless the server is a replica that is in step with master:
// the replication id is the same on both, whatever addresses they know each other by.
func (i info) follows(master info) error {
	switch {
	case i["role"] != "slave":
		return fmt.Errorf("it is not a replica: its role is %q", clean(i["role"]))
	case i["master_link_status"] != "up":
		return fmt.Errorf("its link to the master is %q", clean(i["master_link_status"]))
	case i["master_sync_in_progress"] != "0":
		return errors.New("it is being synchronised")
	case i["loading"] != "0":
		return errors.New("it is loading its data")
	case i["master_replid"] != master["master_replid"]:
		return errors.New("it replicates another history than the master's")
	}
	return nil
}

// behind is how many bytes a replica is behind the master, and what is against
// making it master.
func (i info) behind(master info, b bounds) (bytes int64, against string) {
	if err := i.follows(master); err != nil {
		return 0, err.Error()
	}
	here, err := i.number("slave_repl_offset")
	if err != nil {
		return 0, err.Error()
	}
	there, err := master.number("master_repl_offset")
	if err != nil {
		return 0, "the master: " + err.Error()
	}
	quiet, err := i.number("master_last_io_seconds_ago")
	if err != nil {
		return 0, err.Error()
	}
	bytes = max(0, there-here)
	switch {
	case bytes > b.bytes:
		return bytes, fmt.Sprintf("it is %d bytes behind, more than %d (with.maxLagBytes)", bytes, b.bytes)
	case quiet < 0 || quiet > int64(b.seconds):
		return bytes, fmt.Sprintf("it has heard nothing from the master for %d s, more than %d (with.maxLagSeconds)", quiet, b.seconds)
	}
	return bytes, ""
}

// oldestReplica is for how long the replica that has been connected for longest
// has been. Redis tells nobody when its last failover was; this is at most that.
func (c *conns) oldestReplica(ctx context.Context, master string) (time.Duration, error) {
	text, err := c.text(ctx, master, "CLIENT", "LIST", "TYPE", "replica")
	if err != nil {
		return 0, err
	}
	oldest := int64(-1)
	for field := range strings.FieldsSeq(text) {
		if v, ok := strings.CutPrefix(field, "age="); ok {
			if n, err := strconv.ParseInt(v, 10, 32); err == nil {
				oldest = max(oldest, n)
			}
		}
	}
	if oldest < 0 {
		return 0, fmt.Errorf("no replica is connected to the master %s", master)
	}
	return seconds(oldest), nil
}
