package main

// incidentsCmd is `kmend incidents`.
type incidentsCmd struct{}
