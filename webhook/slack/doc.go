// Package slack is where people's clicks come in: Slack calls the endpoint, or,
// for clusters that nobody can reach from outside, kmend holds a WebSocket open
// to Slack (Socket Mode). A call counts only with Slack's signature, young, and
// once; it is acknowledged at once and worked on after that, because Slack waits
// three seconds. Why a click did nothing, only who clicked is told.
//
// Whether the person may answer, and whether the plan still stands, is asked by
// the next stage: this package knows who clicked what.
package slack
