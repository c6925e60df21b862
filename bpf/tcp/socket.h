/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is kept of each TCP socket of the target, in the socket itself: the
 * kernel frees it with the socket, and every other socket of the node costs one
 * look at a pointer.
 */
#pragma once

#define NUM_BUCKETS 24

/* The window, CLOCK_MONOTONIC; closed outside of one. */
volatile __u64 window_start = ~0ull;
volatile __u64 window_end;
volatile __u32 window_id; /* tells a socket's state of this window from that of an earlier one */
volatile __u32 socket_count;

const volatile __u32 max_sockets = 16384;

/* Sums, of one socket or of those that went to one peer and are closed. u64 only. */
struct totals {
	__u64 sockets;
	__u64 segments;    /* with data, sent; retransmits among them */
	__u64 retransmits; /* segments */
	__u64 by_timeout;  /* segments retransmitted after a timeout, */
	__u64 by_fast;     /* in fast recovery, */
	__u64 by_probe;    /* as a tail loss probe */
	__u64 timeouts;    /* that fired */
	__u64 timeout_ns;  /* stalled until a timeout, and then recovered */
	__u64 fast_ns;     /* a round trip a recovery */
	__u64 probe_ns;    /* stalled until a tail loss probe */
	__u64 gone_ns;     /* stalled by timeouts, and the peer has not acknowledged anything since */
	__u64 answers;     /* data came in after data had gone out */
	__u64 answer_ns;   /* sum of the times from the last byte out to the first byte in, without stalls */
	__u64 waited_ns;   /* of those, inside the window */
	__u64 unanswered;  /* data went out and nothing came in until the end */
	__u64 unanswered_ns;
	__u64 served;      /* the reverse: data went out after data had come in */
	__u64 served_ns;
	__u64 unserved;
	__u64 unserved_ns;
	__u64 buckets[NUM_BUCKETS]; /* answers by time: bucket i is below 2^i us */
};

enum { OPEN_UNKNOWN, OPEN_ACTIVE, OPEN_PASSIVE };
enum { ROLE_CLIENT, ROLE_SERVER };

/* TALKING until the connection leaves ESTABLISHED. FINISHED: its sums are final. */
enum { TALKING, CLOSING, CLOSED, FINISHED };

struct peer {
	__u8 addr[16]; /* IPv4 mapped into IPv6 */
	__u64 cgroup;  /* task group of whoever opened the socket or listened */
	__u32 netns;
	__u16 port;    /* the peer's, 0 for role server */
	__u16 local;   /* ours, 0 for role client */
	__u32 role;
	__u32 pad;
};

struct conn {
	struct totals t;
	struct peer peer; /* port and local both set until the end */
	__u64 answer_max;
	__u64 sent_at;  /* 0, or when the last byte of a request went out that has no answer */
	__u64 asked_at; /* 0, or when the first byte came in that has no reply */
	__u64 stalled;  /* sum of all stalls, ns, */
	__u64 stalled0; /* when the request went out */
	__u64 stall_end; /* of the last stall */
	__u64 pending;  /* stalled by timeouts since the peer last acknowledged something */
	__u64 sent;     /* bytes, when last looked */
	__u32 window;
	__u32 opened;
	__u32 segments0, retransmits0, retransmits;
	__u32 timeout_una;  /* what the last timeout was about, */
	__u32 timeout_count; /* and the how manieth for it */
	__u32 recovery;     /* high_seq of the last recovery */
	__u32 phase;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} sockets SEC(".maps");

struct closed_peer {
	struct totals t;
	__u64 answer_max;
};

/* Sockets closed inside the window, by peer. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct peer);
	__type(value, struct closed_peer);
} closed_peers SEC(".maps");

struct endpoint {
	__u32 netns;
	__u32 port;
};

struct listener {
	__u64 cgroup;
	__u64 synacks; /* retransmitted: the peer does not complete its connection */
};

/* Ports that the target listens on. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct endpoint);
	__type(value, struct listener);
} listeners SEC(".maps");

static __always_inline struct endpoint local_end(const struct sock *sk)
{
	struct endpoint e = {
		.netns = readable(sk)->__sk_common.skc_net.net->ns.inum,
		.port = sk->__sk_common.skc_num,
	};

	return e;
}

static __always_inline __u64 task_group_id(struct task_struct *p)
{
	__u64 id = readable(p)->sched_task_group->css.cgroup->kn->id;

	return id ? id : 1; /* an autogroup has no directory: it stands for the root */
}

/* The socket's state in this window, or NULL: not of the target. */
static __always_inline struct conn *measured(const struct sock *sk)
{
	struct conn *c;

	if (!readable(sk)->sk_bpf_storage) /* spares everyone else the call */
		return 0;
	c = bpf_sk_storage_get(&sockets, (void *)sk, 0, 0);
	return c && c->window == window_id && c->phase < CLOSED ? c : 0;
}

/* The part of from..to that is inside the window. */
static __always_inline __u64 inside(__u64 from, __u64 to)
{
	__u64 start = window_start, end = window_end;

	if (from < start)
		from = start;
	if (to > end)
		to = end;
	return to > from ? to - from : 0;
}

static __always_inline __u32 bits(__u64 v)
{
	__u32 n = 0;

	if (v >> 32) { n += 32; v >>= 32; }
	if (v >> 16) { n += 16; v >>= 16; }
	if (v >> 8) { n += 8; v >>= 8; }
	if (v >> 4) { n += 4; v >>= 4; }
	if (v >> 2) { n += 2; v >>= 2; }
	if (v >> 1) { n += 1; v >>= 1; }
	return n + (__u32)v;
}
