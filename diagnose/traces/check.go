package traces

import (
	"context"
	"errors"
	"fmt"
)

// Check asks for what every such system knows: the services of Jaeger, an echo of Tempo.
func (s *Source) Check(ctx context.Context) error {
	path := "/api/services"
	if s.opts.System == Tempo {
		path = "/api/echo"
	}
	body, err := newClient(s.opts).get(ctx, path, nil)
	if err == nil && body == nil {
		err = errors.New("404 Not Found: there is another server at this URL, or the path prefix is wrong")
	}
	if err != nil {
		return fmt.Errorf("asking %s: %w", s.opts.System, err)
	}
	return nil
}
