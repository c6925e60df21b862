/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TCP segments that are sent again, and how long the connection had stalled before:
 * the same that bpf/tcp/stall.h counts in a live window. A timer or an
 * acknowledgment sends them, in nobody's context; the socket knows its cgroup, of
 * v2. Where the cpu controller is not on that hierarchy nobody knows.
 *
 * What is kept of a connection that has sent again is in a table of fixed size; of
 * one that has not, nothing. A stall counts when it ends. Of a connection that a
 * client opened, one that a timeout ends counts only once something has been
 * acknowledged since: a client that went away stalls nobody.
 */
#pragma once

#include "kernel_tcp.h"
#include "wait.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

enum cgroup_subsys_id___recorder { cpu_cgrp_id = 0 };

struct cgroup___recorder {
	struct cgroup_subsys_state___recorder *subsys[CGROUP_SUBSYS_COUNT];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock_common___recorder {
	struct {
		__s64 counter;
	} skc_cookie;
};

struct sock___recorder {
	struct sock_common___recorder __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
};

#pragma clang attribute pop

#define NETNS_SEVERAL (~0u)

struct sender {
	__u64 sk;
	__u64 serial;    /* of the group that has the cell */
	__u64 stall_end; /* of the last stall */
	__u64 pending;   /* stalled by timeouts since the client last acknowledged something */
	__u32 cell;
	__u32 passive;     /* its peer opened it */
	__u32 retransmits; /* total_retrans, as last seen */
	__u32 timeout_una; /* what the last timeout was about, */
	__u32 timeout_count; /* and the how manieth for it */
	__u32 recovery;      /* high_seq of the last recovery */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* the socket's cookie */
	__type(value, struct sender);
} senders SEC(".maps");

volatile __u32 senders_pending; /* some may be */

/* Whose a socket is: its cgroup's, or that of the first above with the cpu controller. */
static __always_inline struct cell *cell_of_socket(struct sock *sk, __u32 *number)
{
	struct cgroup *cgrp = BPF_CORE_READ((struct sock___recorder *)sk, sk_cgrp_data.cgroup);
	__u32 cpu = bpf_core_enum_value(enum cgroup_subsys_id___recorder, cpu_cgrp_id);
	__u32 offset = bpf_core_field_offset(struct cgroup___recorder, subsys) + 8 * cpu;

	for (int i = 0; i < MAX_DEPTH && cgrp; i++) {
		struct cgroup_subsys_state___recorder *css = 0;
		struct cell *c;

		bpf_probe_read_kernel(&css, sizeof(css), (void *)cgrp + offset);
		if (css) {
			*number = BPF_CORE_READ(css, id);
			c = cell_at(*number);
			return c && c->serial == BPF_CORE_READ(css, serial_nr) ? c : 0;
		}
		cgrp = BPF_CORE_READ(cgrp, self.parent, cgroup);
	}
	return 0;
}

/*
 * Whether the peer opened the connection: see opened_by() of bpf/tcp. Once this side
 * has closed, a FIN may be among what it sent: in doubt the peer did.
 */
static __always_inline bool opened_by_peer(struct sock *sk, struct tcp_sock *tp)
{
	__u32 octets = tp->bytes_acked + (tp->snd_nxt - tp->snd_una) - (tp->bytes_sent - tp->bytes_retrans);
	__u32 state = sk->__sk_common.skc_state;
	bool open = state == TCP_ESTABLISHED || state == TCP_SYN_SENT || state == TCP_CLOSE_WAIT;

	return !octets || (octets == 1 && !open);
}

static __always_inline void note_netns(struct cell *c, struct sock *sk)
{
	__u32 netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);

	if (c->netns != netns)
		c->netns = c->netns ? NETNS_SEVERAL : netns;
}

/* A stall of ns ends now; what the last one had of it does not count again. */
static __always_inline __u64 end_stall(struct sender *s, __u64 now, __u64 ns)
{
	if (now - s->stall_end < ns)
		ns = now - s->stall_end;
	s->stall_end = now;
	return ns;
}

/* What timed out before has been acknowledged since. */
static __always_inline void settle_stall(struct sender *s, struct cell *c)
{
	count(c->stall_ns, __sync_lock_test_and_set(&s->pending, 0));
}

static __always_inline void note_timeout(struct sender *s, struct cell *c, struct tcp_sock *tp, __u64 now)
{
	__u32 repeated = tp->inet_conn.icsk_retransmits;
	__u64 ns;

	if (tp->snd_una != s->timeout_una)
		settle_stall(s, c);
	else if (repeated == s->timeout_count)
		return;
	s->timeout_una = tp->snd_una;
	s->timeout_count = repeated;
	ns = end_stall(s, now, timeout_wait(tp));
	if (!s->passive) {
		count(c->stall_ns, ns);
		return;
	}
	__sync_fetch_and_add(&s->pending, ns);
	senders_pending = 1;
}

static __always_inline void note_stall(struct sender *s, struct cell *c, struct tcp_sock *tp, __u64 now)
{
	__u32 state = BPF_CORE_READ_BITFIELD(&tp->inet_conn, icsk_ca_state);

	if (state == TCP_CA_LOSS) {
		if (tp->inet_conn.icsk_retransmits)
			note_timeout(s, c, tp, now);
	} else if (state != TCP_CA_RECOVERY) {
		count(c->stall_ns, end_stall(s, now, probe_wait(tp)));
	} else if (tp->high_seq != s->recovery) {
		s->recovery = tp->high_seq;
		count(c->stall_ns, end_stall(s, now, round_trip(tp)));
	}
}

static __noinline struct sender *new_sender(struct sock *sk, struct tcp_sock *tp, __u64 key)
{
	struct sender first = {.sk = (__u64)sk, .retransmits = tp->total_retrans - 1};
	struct cell *c = cell_of_socket(sk, &first.cell);

	if (!c)
		return 0;
	first.serial = c->serial;
	first.passive = opened_by_peer(sk, tp);
	bpf_map_update_elem(&senders, &key, &first, BPF_ANY);
	return bpf_map_lookup_elem(&senders, &key);
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct sender *s;
	struct cell *c;
	__u32 segments;
	__u64 key;

	if (!tp || !tp->total_retrans) /* tried and not sent */
		return 0;
	key = bpf_get_socket_cookie(sk);
	s = bpf_map_lookup_elem(&senders, &key);
	if (!s)
		s = new_sender(sk, tp, key);
	if (!s)
		return 0;
	c = cell_at(s->cell);
	segments = tp->total_retrans - s->retransmits;
	if (!c || c->serial != s->serial || !segments) /* the same */
		return 0;
	s->retransmits = tp->total_retrans;
	count(c->retransmits, segments);
	note_netns(c, sk);
	note_stall(s, c, tp, bpf_ktime_get_ns());
	return 0;
}

/* Once a connection; one that has sent nothing again is left at once. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct sender *s;
	struct cell *c;
	__u64 key;

	if (!tp || !tp->total_retrans)
		return 0;
	key = bpf_get_socket_cookie(sk);
	s = bpf_map_lookup_elem(&senders, &key);
	if (!s)
		return 0;
	c = cell_at(s->cell);
	if (c && c->serial == s->serial && tp->snd_una != s->timeout_una)
		settle_stall(s, c);
	bpf_map_delete_elem(&senders, &key);
	return 0;
}

/* The socket may be gone, and its memory another's: the cookie is compared after what was read. */
static long settle_sender(void *map, __u64 *key, struct sender *s, void *ctx)
{
	struct tcp_sock *tp = (void *)s->sk;
	struct cell *c = cell_at(s->cell);
	__u32 una;

	if (!s->pending || !c || c->serial != s->serial)
		return 0;
	una = BPF_CORE_READ(tp, snd_una);
	if (BPF_CORE_READ((struct sock___recorder *)tp, __sk_common.skc_cookie.counter) != *key)
		return 0;
	if (una != s->timeout_una)
		settle_stall(s, c);
	else
		senders_pending = 1;
	return 0;
}

static __always_inline void settle_senders(void)
{
	if (__sync_lock_test_and_set(&senders_pending, 0))
		bpf_for_each_map_elem(&senders, settle_sender, 0, 0);
}
