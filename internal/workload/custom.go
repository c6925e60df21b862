package workload

import (
	"context"
	"encoding/json"
	"fmt"

	client "k8s.io/client-go/kubernetes"
)

// custom reads a list of custom resources without a client of their own.
func custom(ctx context.Context, c client.Interface, path string, into any) error {
	raw, err := c.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return nil
}
