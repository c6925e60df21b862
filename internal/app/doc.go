// Package app is the wiring of `kmend serve`: it reads kmend.yaml, makes every
// stage, joins them in the order of the flow, serves HTTP and stops it all again
// in the opposite order. It holds no decisions of its own.
package app
