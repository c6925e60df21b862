package process

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// FreeAddr is a TCP address on the loopback that nobody listens on. Somebody
// else may take it before it is used; whoever starts a program on it then sees
// that program end.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// HTTPClient is a client for one program on the loopback: no proxy, and its
// connections are kept however many requests there are at once.
func HTTPClient() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256}}
}
