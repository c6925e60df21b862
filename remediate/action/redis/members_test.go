package redis

import (
	"strings"
	"testing"
)

const nodesText = `07c37df 127.0.0.1:30004@31004,hostname4 slave e7d1eec 0 1426238317239 4 connected
67ed2db :30002@31002 myself,master - 0 1426238316232 2 connected 5461-10922
292f8b3 2001:db8::3:30003@31003 master - 0 1426238318243 3 disconnected 10923-16383
6ec2392 127.0.0.1:30005@31005,hostname5 slave,fail? 67ed2db 0 1426238316232 2 connected
e7d1eec 127.0.0.1:30001@31001,hostname1 master - 0 0 1 connected 0-5460
`

func TestMembers(t *testing.T) {
	nodes, err := members(nodesText, "10.0.0.2:30002")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"127.0.0.1:30004", "10.0.0.2:30002", "[2001:db8::3]:30003", "127.0.0.1:30005", "127.0.0.1:30001"} {
		if nodes[i].addr != want {
			t.Errorf("node %d is at %s, want %s", i, nodes[i].addr, want)
		}
	}
	for _, from := range []string{"127.0.0.1:30001", "hostname1:30001", "e7d1eec", "hostname4:30004"} {
		master, replicas, err := shardOf(nodes, from)
		if err != nil || master.id != "e7d1eec" || len(replicas) != 1 || replicas[0].id != "07c37df" {
			t.Errorf("the shard of %s: %v, %v, %v", from, master, replicas, err)
		}
	}
	if _, _, err := shardOf(nodes, ""); err == nil {
		t.Error("the shard of nobody")
	}
	if nodes[2].well() || nodes[3].well() || !nodes[4].well() {
		t.Error("who is well is not who is")
	}
}

func FuzzMembers(f *testing.F) {
	f.Add(nodesText, "hostname1:30001")
	f.Fuzz(func(t *testing.T, text, from string) {
		nodes, err := members(text, "127.0.0.1:1")
		if err != nil {
			return
		}
		if master, replicas, err := shardOf(nodes, from); err == nil && (master.id == "" || len(replicas) >= len(nodes) && !strings.Contains(text, "slave")) {
			t.Errorf("%+v, %+v", master, replicas)
		}
	})
}
