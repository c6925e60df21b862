/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The window of a probe that is told when it begins and ends, and spans of it.
 */
#pragma once

/* CLOCK_MONOTONIC; both ~0 until it is set. */
volatile __u64 window_start = ~0ull;
volatile __u64 window_end = ~0ull;

static __always_inline __u64 clamp(__u64 t)
{
	__u64 start = window_start, end = window_end;

	if (t < start)
		t = start;
	return t > end ? end : t;
}

static __always_inline __u64 span(__u64 from, __u64 to)
{
	from = clamp(from);
	to = clamp(to);
	return to > from ? to - from : 0;
}

static __always_inline bool in_window(__u64 now)
{
	return now >= window_start && now < window_end;
}
