package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
)

// serveAPI is what kube-proxy does elsewhere, for the one Service that pods cannot do
// without: it passes connections on to the API server, until the process ends.
func (n *Node) serveAPI(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(apiServiceIP, "443"))
	if err != nil {
		return fmt.Errorf("listening where pods look for the API server: %w", err)
	}
	go func() {
		for {
			pod, err := ln.Accept()
			if err != nil {
				return
			}
			go pass(pod)
		}
	}()
	return nil
}

// pass goes on until both sides have said all.
func pass(pod net.Conn) {
	defer pod.Close()
	api, err := net.Dial("tcp", net.JoinHostPort(nodeIP, apiPort))
	if err != nil {
		return // the pod sees a connection that ends
	}
	defer api.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(api, pod)
		_ = api.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(pod, api)
	_ = pod.(*net.TCPConn).CloseWrite()
	<-done
}
