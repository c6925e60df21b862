// Package http asks another system to act, over HTTP: the action http.request,
// for whatever has no action of its own. It is run by package remediate.
//
// Nobody can ask an unknown system what it did. So the action says of each step
// what it cannot promise: without an undo request it is irreversible, and a
// request that must not come twice is not sent again after a crash.
package http
