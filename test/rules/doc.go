// Package rules holds tests that keep the layout of the repository true: who may
// import whom, which programs link what, and that every package says its place.
// docs/architecture.md explains the rules; here is only what is checked.
package rules
