//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * TCP of the target: what was retransmitted and how long that stalled it, and how
 * long its peers took to answer. BTF tracepoints and iterators only.
 *
 * A socket belongs to the target when one of its processes has it open at the
 * window's begin, or opens it inside the window, or when it was accepted on a
 * port that the target listens on; in any network namespace.
 */
#include "kernel.h"
#include "kernel_tcp.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"
#include "wait.h"
#include "socket.h"
#include "stall.h"
#include "exchange.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline void identify(struct conn *c, const struct sock *sk, __u64 cgroup)
{
	struct endpoint e = local_end(sk);

	if (sk->__sk_common.skc_family == AF_INET6) {
		bpf_core_read(c->peer.addr, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		__be32 addr = sk->__sk_common.skc_daddr;

		c->peer.addr[10] = c->peer.addr[11] = 0xff;
		__builtin_memcpy(c->peer.addr + 12, &addr, 4);
	}
	c->peer.port = __builtin_bswap16(sk->__sk_common.skc_dport);
	c->peer.local = e.port;
	c->peer.netns = e.netns;
	c->peer.cgroup = cgroup;
}

/* The state of a socket that joins the target, counters as they are now. */
static __always_inline struct conn *join(struct sock *sk, struct tcp_sock *tp, __u64 cgroup, __u32 opened)
{
	struct conn *c;

	if (__sync_fetch_and_add(&socket_count, 1) >= max_sockets) {
		count_lost();
		return 0;
	}
	c = bpf_sk_storage_get(&sockets, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!c) {
		count_lost();
		return 0;
	}
	__builtin_memset(c, 0, sizeof(*c));
	identify(c, sk, cgroup);
	c->opened = opened;
	c->t.sockets = 1;
	c->sent = new_bytes(tp);
	c->segments0 = tp->data_segs_out;
	c->retransmits0 = c->retransmits = tp->total_retrans;
	c->timeout_count = tp->inet_conn.icsk_retransmits;
	c->timeout_una = tp->snd_una;
	c->window = window_id;
	return c;
}

/*
 * Multipath TCP listens with a socket of its own kind, which Go programs do by
 * default, and gives out connections of plain TCP to whoever speaks only that.
 */
static __always_inline void listen_on(const struct sock *sk, __u64 cgroup)
{
	struct endpoint e = local_end(sk);
	struct listener l = {.cgroup = cgroup};

	if (bpf_map_update_elem(&listeners, &e, &l, BPF_NOEXIST) && !bpf_map_lookup_elem(&listeners, &e))
		count_lost();
}

/* In the context of the thread that connects or listens. */
static __always_inline void on_opened(struct sock *sk, int state)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct tcp_sock *tp;

	if (!in_target(p))
		return;
	if (state == TCP_LISTEN) {
		listen_on(sk, task_group_id(p));
		return;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		join(sk, tp, task_group_id(p), OPEN_ACTIVE);
}

/* In the context of the segment that completes the handshake. */
static __always_inline void on_accepted(struct sock *sk)
{
	struct endpoint e = local_end(sk);
	struct listener *l = bpf_map_lookup_elem(&listeners, &e);
	struct tcp_sock *tp = l ? bpf_skc_to_tcp_sock(sk) : 0;

	if (tp)
		join(sk, tp, l->cgroup, OPEN_PASSIVE);
}

/* Adds a connection that is closed to those of its peer. */
static __always_inline void close_conn(struct conn *c, struct tcp_sock *tp, __u64 now)
{
	struct closed_peer *sum, first = {};

	finish(c, tp, now);
	c->phase = CLOSED;
	sum = lookup_or_add(&closed_peers, &c->peer, &first);
	if (!sum)
		return;
	for (int i = 0; i < sizeof(struct totals) / 8; i++) {
		__u64 n = ((__u64 *)&c->t)[i];

		if (n)
			__sync_fetch_and_add(&((__u64 *)&sum->t)[i], n);
	}
	for (int i = 0; i < 4; i++) { /* other CPUs may close connections to this peer, too */
		__u64 most = sum->answer_max;

		if (c->answer_max <= most || __sync_val_compare_and_swap(&sum->answer_max, most, c->answer_max) == most)
			break;
	}
}

/*
 * Who opened a connection shows in its sequence numbers: the SYN of the active
 * side took one, and is in bytes_acked; the passive side's is not.
 */
static __always_inline __u32 opened_by(struct tcp_sock *tp)
{
	__u32 octets = tp->bytes_acked + (tp->snd_nxt - tp->snd_una) - (tp->bytes_sent - tp->bytes_retrans);

	return octets == 1 ? OPEN_ACTIVE : octets == 0 ? OPEN_PASSIVE : OPEN_UNKNOWN;
}

/* Sockets that the target has open when the window begins. */
SEC("iter/task_file")
int begin_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *p = ctx->task;
	struct file *file = ctx->file;
	struct socket *from;
	struct tcp_sock *tp;
	struct sock *sk;
	struct conn *c;

	if (!p || !file || !in_target(p))
		return 0;
	from = bpf_sock_from_file(file);
	if (!from)
		return 0;
	sk = from->sk;
	if (!sk || (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	if (sk->__sk_common.skc_state == TCP_LISTEN) {
		listen_on(sk, task_group_id(p));
		return 0;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || sk->__sk_common.skc_state == TCP_CLOSE || measured(sk))
		return 0;
	c = join(sk, tp, task_group_id(p), opened_by(tp));
	if (!c)
		return 0;
	if (sk->__sk_common.skc_state == TCP_ESTABLISHED)
		begin_exchange(c, tp, bpf_ktime_get_ns());
	else if (sk->__sk_common.skc_state != TCP_SYN_SENT)
		c->phase = CLOSING;
	return 0;
}

/*
 * Two programs for one tracepoint: while the kernel runs one, it skips the same
 * one in an interrupt of that CPU, and what begins a connection takes longest.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_open, struct sock *sk, int oldstate, int newstate)
{
	if (newstate == TCP_SYN_SENT || newstate == TCP_LISTEN)
		on_opened(sk, newstate);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tp;
	struct conn *c;
	__u64 now;

	if (newstate == TCP_SYN_SENT || newstate == TCP_LISTEN)
		return 0;
	if (oldstate == TCP_SYN_RECV && newstate == TCP_ESTABLISHED) {
		on_accepted(sk);
		return 0;
	}
	c = measured(sk);
	tp = c ? bpf_skc_to_tcp_sock(sk) : 0;
	if (!tp)
		return 0;
	now = bpf_ktime_get_ns();
	if (oldstate == TCP_ESTABLISHED)
		end_exchange(c, tp, newstate != TCP_CLOSE_WAIT && sk->sk_shutdown == SHUTDOWN_MASK, now);
	if (newstate == TCP_CLOSE && now <= window_end)
		close_conn(c, tp, now);
	return 0;
}

/* Each segment that comes in on an established connection, before it is looked at. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(on_segment, struct sock *sk, struct sk_buff *skb)
{
	struct conn *c = measured(sk);
	struct tcp_sock *tp;

	if (!c)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	note_sent(c, tp);
	if (has_news(skb, tp))
		note_received(c, bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk)
{
	struct conn *c = measured(sk);
	struct tcp_sock *tp = c ? bpf_skc_to_tcp_sock(sk) : 0;

	if (tp)
		note_retransmit(c, tp, bpf_ktime_get_ns());
	return 0;
}

/* sk listens; the connection is not made yet. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(on_synack, struct sock *sk)
{
	struct endpoint e = local_end(sk);
	struct listener *l = bpf_map_lookup_elem(&listeners, &e);

	if (l && bpf_ktime_get_ns() <= window_end)
		__sync_fetch_and_add(&l->synacks, 1);
	return 0;
}

/*
 * Writes a conn a socket, closed at the window's end. May be called twice for
 * one, when the reader's buffer is full.
 */
SEC("iter/bpf_sk_storage_map")
int end_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct conn *c = ctx->value;
	struct sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if (!c || !sk || c->window != window_id || c->phase == CLOSED)
		return 0;
	if (c->phase != FINISHED) {
		tp = bpf_skc_to_tcp_sock(sk);
		if (!tp)
			return 0;
		finish(c, tp, window_end);
		c->phase = FINISHED;
	}
	bpf_seq_write(ctx->meta->seq, c, sizeof(*c));
	return 0;
}
