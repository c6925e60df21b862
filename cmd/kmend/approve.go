package main

// approveCmd is `kmend approve ID`.
type approveCmd struct{}
