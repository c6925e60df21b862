package tokenreview

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Options says who may ask, and where the Kubernetes API is.
type Options struct {
	// Host and Port are the API server's, as every pod has them in
	// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
	Host, Port string
	// Credentials is a folder with the agent's own token and the API server's CA:
	// the files token and ca.crt. They are read again for every question.
	Credentials string
	Audience    string        // that callers' tokens must be for
	Caller      string        // NAMESPACE/NAME of the one service account that may ask
	Timeout     time.Duration // of one question to the API server
	Metrics     *Metrics
	Logger      *slog.Logger
}

// DefaultOptions let the service account kmend of namespace kmend ask, with a
// token for the audience kmend-agent.
func DefaultOptions() Options {
	return Options{
		Credentials: "/var/run/secrets/kubernetes.io/serviceaccount",
		Audience:    "kmend-agent",
		Caller:      "kmend/kmend",
		Timeout:     5 * time.Second,
		Metrics:     NewMetrics(nil),
		Logger:      slog.New(slog.DiscardHandler),
	}
}

var (
	audienceForm = regexp.MustCompile(`^[!-~]{1,253}$`)
	callerForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
)

func (o Options) validate() error {
	port, err := strconv.Atoi(o.Port)
	switch {
	case o.Host == "" || o.Port == "":
		return errors.New("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set: tokens are reviewed by the Kubernetes API, so run the agent as a pod, or use a token file")
	case err != nil || port < 1 || port > 65535:
		return fmt.Errorf("KUBERNETES_SERVICE_PORT is %q; allowed: 1 to 65535", o.Port)
	case strings.ContainsAny(o.Host, "/?#@ "):
		return fmt.Errorf("KUBERNETES_SERVICE_HOST is %q; want a host name or an address", o.Host)
	case !filepath.IsAbs(o.Credentials):
		return fmt.Errorf("credentials folder is %q; want an absolute path, in a pod %s", o.Credentials, DefaultOptions().Credentials)
	case !audienceForm.MatchString(o.Audience):
		return fmt.Errorf("audience is %q; allowed: 1 to 253 printable ASCII characters without spaces, for example kmend-agent", o.Audience)
	case !callerForm.MatchString(o.Caller):
		return fmt.Errorf("caller is %q; write NAMESPACE/NAME of kmend's service account, for example kmend/kmend", o.Caller)
	case o.Timeout < 100*time.Millisecond || o.Timeout > time.Minute:
		return fmt.Errorf("timeout of a review is %s; allowed: 100ms to 1m", o.Timeout)
	case o.Metrics == nil || o.Logger == nil:
		return errors.New("Metrics or Logger is nil; NewMetrics(nil) and slog.DiscardHandler keep them quiet")
	}
	return nil
}

func (o Options) address() string { return net.JoinHostPort(o.Host, o.Port) }

// user is what the API server calls the service account that may ask.
func (o Options) user() string {
	return "system:serviceaccount:" + strings.Replace(o.Caller, "/", ":", 1)
}
