// Package remediate runs the steps of a plan: it asks each action for its dry
// run, applies it, undoes it, and says from a second measurement whether it
// helped. It is the Executor of internal/respond, after the plan is rendered
// (package runbooks) and around the moment it is allowed (package policies).
//
// The actions themselves are in the folders of action/, one for each system
// that is acted on.
package remediate
