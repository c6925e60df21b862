package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	client "k8s.io/client-go/kubernetes"
)

// custom reads a list of custom resources without a client of their own.
func custom(ctx context.Context, c client.Interface, path string, into any) error {
	rest := c.Discovery().RESTClient()
	if rest == nil || reflect.ValueOf(rest).IsNil() {
		return errors.New("the client has no REST client") // a fake of client-go's
	}
	raw, err := rest.Get().AbsPath(path).DoRaw(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return nil
}
