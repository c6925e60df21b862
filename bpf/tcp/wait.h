/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long a connection has stalled when it sends a segment again, for the probe
 * (stall.h) and for the flight recorder (bpf/recorder/tcp.h): until the timeout
 * fires; for one round trip, in which duplicate acknowledgements come in; or until
 * the tail loss probe (RFC 8985), which the kernel sends after two round trips and,
 * with only one segment under way, as long as a timeout is at least (see
 * tcp_schedule_loss_probe() in net/ipv4/tcp_output.c).
 */
#pragma once

const volatile __u64 tick_ns = 4000000; /* of a jiffy */

/* net/ipv4/tcp_timer.c counts a timeout before it retransmits, and doubles it after. */
static __always_inline __u64 timeout_wait(struct tcp_sock *tp)
{
	return tp->inet_conn.icsk_rto * tick_ns;
}

static __always_inline __u64 round_trip(struct tcp_sock *tp)
{
	return (tp->srtt_us >> 3) * 1000ull;
}

static __always_inline __u64 probe_wait(struct tcp_sock *tp)
{
	__u64 more = tp->packets_out == 1 ? tp->inet_conn.icsk_rto_min * tick_ns : 2000000;
	__u64 wait = 2 * round_trip(tp) + more, timeout = timeout_wait(tp);

	return wait < timeout ? wait : timeout;
}
