// Command render prints the chart's manifests, as `helm template` does, for those who
// have no Helm. With -write it writes what the repository has of the chart:
// deploy/kmend.yaml, deploy/rbac and the table of the chart's README.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"helm.sh/helm/v4/pkg/chart/v2/loader"

	"github.com/kmend/kmend/test/chart"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "render: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	r := chart.DefaultRelease()
	flag.StringVar(&r.Name, "release", r.Name, "name of the release")
	flag.StringVar(&r.Namespace, "namespace", r.Namespace, "its namespace")
	file := flag.String("values", "", "YAML file of values over the chart's own; with go run -C its path must be absolute")
	write := flag.Bool("write", false, "write what is generated from the chart, and print nothing")
	flag.Parse()
	if *write {
		return chart.Write(ctx)
	}
	values := map[string]any{}
	if *file != "" {
		f, err := os.Open(*file)
		if err != nil {
			return err
		}
		defer f.Close()
		if values, err = loader.LoadValues(f); err != nil {
			return fmt.Errorf("reading %s: %w", *file, err)
		}
	}
	out, err := r.Manifests(ctx, values)
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(out)
	return err
}
