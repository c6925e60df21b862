package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/diagnose/agent/agentpb/agentpbconnect"
)

// DefaultSocket is where `kmend diagnose --since` finds the agent of its node.
const DefaultSocket = "/run/kmend/agent.sock"

// ServeSocket answers on a unix socket until ctx ends: the same calls as Serve,
// without TLS and token, because only root can connect (mode 0600, in a directory
// of mode 0700 if it had to be made). A socket that another agent answers on is
// left alone, one that nobody does is replaced.
func ServeSocket(ctx context.Context, a *Agent, path string, logger *slog.Logger) error {
	ln, err := listenSocket(ctx, path)
	if err != nil {
		return fmt.Errorf("agent socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/"+agentpbconnect.AgentServiceName+"/", NewHandler(a))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s := &http.Server{
		Handler: mux, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog:    slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return stopping },
	}
	logger.Info("agent listening", "socket", path)
	return run(ctx, s, ln, time.Second, stop) // which removes the socket
}

func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if other, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("another agent answers on %s: stop it, or give this one another path (--socket; agents.socket of kmend serve)", path), other.Close())
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket: give another path (--socket; agents.socket of kmend serve)", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// Made under another name with its mode, so that nobody connects before.
	making := fmt.Sprintf("%s.%d", path, os.Getpid())
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", making)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(making, 0o600), os.Rename(making, path)); err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(making))
	}
	return socket{ln, path}, nil
}

// socket removes its path when it is closed.
type socket struct {
	net.Listener
	path string
}

func (s socket) Close() error {
	err := s.Listener.Close()
	if gone := os.Remove(s.path); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
