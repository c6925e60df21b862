// Package tokenreview knows by the Kubernetes API who asks an agent: is the
// caller's bearer token valid for the agents' audience, and is it that of the one
// service account that may ask? diagnose/agent asks it before it looks at a
// request:
//
//	caller's token -> cache -> POST tokenreviews -> let in, or refused with the reason
//
// It speaks to the API server with net/http: client-go would more than double
// the agent, which is privileged and on every node, for this one call.
package tokenreview
