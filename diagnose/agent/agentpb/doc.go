// Package agentpb is generated from agent.proto: the wire form of the two calls
// of package agent, over connect. Change the .proto and run go generate.
package agentpb

//go:generate ./generate.sh
