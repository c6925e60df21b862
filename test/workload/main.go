// Command workload makes known load for tests and the demo; see package load.
//
//	workload -mode burn -threads 4 -cgroup /sys/fs/cgroup/cpu/demo
package main

import (
	"context"
	"os"

	"github.com/kmend/kmend/test/workload/load"
)

func main() {
	os.Exit(load.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
