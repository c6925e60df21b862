// Package monitoring holds tests of what people look at kmend itself with: the alert
// rules and the dashboard of deploy/chart/kmend/files, the examples of deploy/examples
// and the table of docs/monitoring.md. They are held against what the packages really
// export, and against real programs: promtool, amtool and a Prometheus that scrapes a
// kmend.
package monitoring
