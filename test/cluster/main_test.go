package cluster

import "testing"

var node *Node

func TestMain(m *testing.M) { Main(m, &node, "prometheus-alertmanager", "nftables") }
