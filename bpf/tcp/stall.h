/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a retransmission was for, and how long the connection had stalled. A
 * timeout is told by the congestion state Loss and a new count of timeouts for
 * the first unacknowledged byte (net/ipv4/tcp_timer.c counts before it
 * retransmits and doubles the timeout after); what follows in Loss without a
 * new timeout is its repair. Recovery is fast retransmit. What is retransmitted
 * in any other state is a tail loss probe (RFC 8985). bpf/recorder/tcp.h does the
 * same for the flight recorder.
 */
#pragma once

/* The stall ends now and began ns ago, or when the last one ended. */
static __always_inline __u64 stall(struct conn *c, __u64 now, __u64 ns)
{
	__u64 from = now - ns;

	if (from < c->stall_end)
		from = c->stall_end;
	ns = inside(from, now);
	c->stall_end = now;
	c->stalled += ns;
	return ns;
}

static __always_inline void note_timeout(struct conn *c, struct tcp_sock *tp, __u64 now)
{
	__u32 count = tp->inet_conn.icsk_retransmits;

	if (tp->snd_una == c->timeout_una) {
		if (count == c->timeout_count)
			return;
	} else { /* what timed out before has been acknowledged since */
		c->t.timeout_ns += c->pending;
		c->pending = 0;
	}
	c->timeout_una = tp->snd_una;
	c->timeout_count = count;
	c->t.timeouts++;
	c->pending += stall(c, now, timeout_wait(tp));
}

static __always_inline void note_retransmit(struct conn *c, struct tcp_sock *tp, __u64 now)
{
	__u32 segments = tp->total_retrans - c->retransmits;
	__u32 state;

	if (!segments || now > window_end) /* tried and not sent */
		return;
	c->retransmits = tp->total_retrans;
	state = BPF_CORE_READ_BITFIELD(&tp->inet_conn, icsk_ca_state);
	if (state == TCP_CA_LOSS) {
		c->t.by_timeout += segments;
		if (tp->inet_conn.icsk_retransmits)
			note_timeout(c, tp, now);
	} else if (state == TCP_CA_RECOVERY) {
		c->t.by_fast += segments;
		if (tp->high_seq != c->recovery) {
			c->recovery = tp->high_seq;
			c->t.fast_ns += stall(c, now, round_trip(tp));
		}
	} else {
		c->t.by_probe += segments;
		c->t.probe_ns += stall(c, now, probe_wait(tp));
	}
}
