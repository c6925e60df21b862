// Package slack is the end of the flow for people in Slack: one message for each
// incident, with evidence, plan and the dry run's answer, with buttons while it
// waits for a person, edited at every change and ending in what came of it. What
// it says it reads from the incident; clicks come in by package webhook/slack.
//
// Alert text, names of pods and threads, and answers of other systems are
// hostile: they are written as plain text or inside code, where Slack makes
// neither links nor mentions of them, with &, < and > escaped, and bounded.
package slack
