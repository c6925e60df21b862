package traces

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/kmend/kmend/internal/secret"
)

// The systems that keep traces.
const (
	Jaeger = "jaeger"
	Tempo  = "tempo"
)

// Options of a Source. Start from DefaultOptions.
type Options struct {
	System string // Jaeger or Tempo
	URL    string // of its query API, without credentials
	// Token is sent as a bearer token; nil: none.
	Token *secret.File
	// Timeout is what all questions about one alert may take together.
	Timeout time.Duration
	// Baseline is how long before the window the baseline begins.
	Baseline time.Duration
	// Traces are asked for at most, for the window and for the baseline.
	Traces int
}

// DefaultOptions are without a system and an address.
func DefaultOptions() Options {
	return Options{Timeout: 5 * time.Second, Baseline: time.Hour, Traces: 20}
}

func (o Options) validate() error {
	u, err := url.Parse(o.URL)
	switch {
	case o.System != Jaeger && o.System != Tempo:
		return fmt.Errorf("option System is %q; want %q or %q", o.System, Jaeger, Tempo)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("option URL is no URL; want http://HOST:PORT or https://HOST:PORT") // it may hold a password
	case u.User != nil:
		return errors.New("option URL holds credentials; use a token file")
	case o.Timeout < 100*time.Millisecond || o.Timeout > time.Minute:
		return fmt.Errorf("option Timeout is %s; it must be from 100ms to 1m", o.Timeout)
	case o.Baseline < time.Minute || o.Baseline > 7*24*time.Hour:
		return fmt.Errorf("option Baseline is %s; it must be from 1m to 168h", o.Baseline)
	case o.Traces < 1 || o.Traces > 100:
		return fmt.Errorf("option Traces is %d; it must be from 1 to 100", o.Traces)
	}
	return nil
}
