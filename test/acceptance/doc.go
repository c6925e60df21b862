// Package acceptance holds the tests of the whole: a real Alertmanager, the real
// kernel and the kmend program, as a user runs them. What is looked at is what a
// user sees: the API, the command line, the exit status; and whether it is true
// is asked of the kernel.
package acceptance
