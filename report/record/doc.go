// Package record is the end of the flow for later: the record of an incident, what
// happened, who decided what, before and after, and what is left to do, as JSON and as
// Markdown. It says what the incident says and asks nobody.
package record
