// Package redis moves the master of a Redis to one of its replicas: the actions
// redis.sentinel_failover and redis.cluster_failover. It is run by package
// remediate.
//
// It asks Sentinel, or the Cluster, for a failover as an operator would, and
// never forces one. Before that it looks whether a failover can go well; after
// it, whether it did. Which Redis it is comes from the runbook alone.
package redis
