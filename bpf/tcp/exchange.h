/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests and answers, told from segments alone: an answer is the first data
 * that comes in after data went out. It took as long as from the last byte out,
 * so a long upload does not count, less the stalls of retransmission in
 * between. The reverse, the first data out after data came in, is how long the
 * target took for a request of its own clients. Which of the two means
 * something depends on the role.
 *
 * No tracepoint of the sending side is needed: when a segment comes in,
 * tcp_mstamp is still the time of the last event before it, and bytes_sent tells
 * whether new data went out since the last look. Blind spot: on a connection
 * with many requests under way at once only the youngest one is timed.
 */
#pragma once

/*
 * Whether a segment carries data that the socket does not have yet: one that the
 * peer retransmits for want of an acknowledgement answers nothing.
 * tcp_rcv_established still has the header in front (RFC 9293, section 3.1).
 */
static __always_inline bool has_news(struct sk_buff *skb, struct tcp_sock *tp)
{
	struct {
		__be16 source, dest;
		__be32 seq, ack_seq;
		__u8 words;
	} header;
	__u32 data, end;

	if (bpf_probe_read_kernel(&header, sizeof(header), skb->data))
		return false;
	data = skb->len - (header.words >> 4) * 4u;
	end = __builtin_bswap32(header.seq) + data;
	return data && (__s32)(end - tp->rcv_nxt) > 0;
}

/* Half of a connection: what was said last, and by whom, before the window. */
static __always_inline void begin_exchange(struct conn *c, struct tcp_sock *tp, __u64 now)
{
	__u32 tick = (__u32)bpf_jiffies64();
	__s32 ahead = tp->lsndtime - tp->inet_conn.icsk_ack.lrcvtime;

	if (ahead > 0 && tp->data_segs_out)
		c->sent_at = now - (tick - tp->lsndtime) * tick_ns;
	else if (ahead < 0)
		c->asked_at = now - (tick - tp->inet_conn.icsk_ack.lrcvtime) * tick_ns;
}

static __always_inline __u64 new_bytes(struct tcp_sock *tp)
{
	return tp->bytes_sent - tp->bytes_retrans;
}

static __always_inline void note_sent(struct conn *c, struct tcp_sock *tp)
{
	__u64 sent = new_bytes(tp), at;

	if (sent <= c->sent || c->phase != TALKING)
		return;
	at = tp->tcp_mstamp * 1000;
	c->sent = sent;
	if (c->asked_at && at <= window_end) {
		c->t.served++;
		c->t.served_ns += inside(c->asked_at, at);
	}
	c->asked_at = 0;
	c->sent_at = at;
	c->stalled0 = c->stalled;
}

static __always_inline __u64 less(__u64 a, __u64 b)
{
	return a > b ? a - b : 0;
}

static __always_inline void note_received(struct conn *c, __u64 now)
{
	if (now > window_end)
		return;
	if (c->sent_at) {
		__u64 stalled = c->stalled - c->stalled0;
		__u64 took = less(less(now, c->sent_at), stalled);
		__u32 bucket = bits(took / 1000);

		c->t.answers++;
		c->t.answer_ns += took;
		c->t.waited_ns += less(inside(c->sent_at, now), stalled);
		if (took > c->answer_max)
			c->answer_max = took;
		if (bucket >= NUM_BUCKETS)
			bucket = NUM_BUCKETS - 1;
		c->t.buckets[bucket]++;
		c->sent_at = 0;
	}
	if (!c->asked_at)
		c->asked_at = now;
}

static __always_inline void no_answer(struct conn *c, __u64 now)
{
	if (!c->sent_at || c->sent_at >= now)
		return;
	c->t.unanswered++;
	c->t.unanswered_ns += less(inside(c->sent_at, now), c->stalled - c->stalled0);
}

/*
 * The connection leaves ESTABLISHED, after which its segments are not seen. A
 * side that closes both directions has given up on its request; one that only
 * closes its own may get an answer still.
 */
static __always_inline void end_exchange(struct conn *c, struct tcp_sock *tp, bool gave_up, __u64 now)
{
	note_sent(c, tp);
	if (gave_up && now <= window_end)
		no_answer(c, now);
	c->phase = CLOSING;
	c->sent_at = c->asked_at = 0;
}

/* Closes what is open at the end and fills in what is only known then. */
static __always_inline void finish(struct conn *c, struct tcp_sock *tp, __u64 now)
{
	struct endpoint e = {.netns = c->peer.netns, .port = c->peer.local};

	note_sent(c, tp);
	c->t.segments = tp->data_segs_out - c->segments0;
	c->t.retransmits = tp->total_retrans - c->retransmits0;
	if (tp->inet_conn.icsk_retransmits && tp->packets_out) {
		c->pending += stall(c, now, now - c->stall_end);
		c->t.gone_ns += c->pending;
	} else {
		c->t.timeout_ns += c->pending;
	}
	no_answer(c, now);
	if (c->asked_at && c->asked_at < now) {
		c->t.unserved++;
		c->t.unserved_ns += inside(c->asked_at, now);
	}
	if (c->opened == OPEN_PASSIVE || bpf_map_lookup_elem(&listeners, &e)) {
		c->peer.role = ROLE_SERVER;
		c->peer.port = 0;
	} else {
		c->peer.local = 0;
	}
}
