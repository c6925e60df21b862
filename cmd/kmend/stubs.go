package main

type (
	diagnoseCmd struct{}
	runbookCmd  struct{}
	policyCmd   struct{}
)
