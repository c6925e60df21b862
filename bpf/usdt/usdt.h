/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Static tracepoints in user space. User space (bpf/usdt) parses where their
 * arguments are and puts it into usdt_specs; the attach cookie of a uprobe is the
 * index of its spec. One program serves every point of an object.
 */
#pragma once

#define USDT_ARGUMENTS 8

enum usdt_place { USDT_CONSTANT = 1, USDT_REGISTER = 2, USDT_MEMORY = 3 };

struct usdt_arg {
	__u64 value; /* a constant, or the displacement of a memory operand */
	__u16 reg;   /* offset of the register in struct pt_regs */
	__u8 place;  /* enum usdt_place */
	__u8 size;   /* bytes: 1, 2, 4, 8 */
	__u8 is_signed;
	__u8 pad[3];
};

struct usdt_spec {
	struct usdt_arg args[USDT_ARGUMENTS];
	__u32 point; /* which it is: the index in the points that were attached */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64); /* MaxSpecs */
	__type(key, __u32);
	__type(value, struct usdt_spec);
} usdt_specs SEC(".maps");

static __always_inline struct usdt_spec *usdt_spec(void *ctx)
{
	__u32 index = bpf_get_attach_cookie(ctx);

	return bpf_map_lookup_elem(&usdt_specs, &index);
}

/* usdt_arg reads argument n, a constant of the program: 0, or -1 where it cannot. */
static __always_inline int usdt_arg(void *ctx, struct usdt_spec *spec, int n, __u64 *v)
{
	struct usdt_arg *a = &spec->args[n];
	int shift = 64 - 8 * (int)a->size;
	__u64 value = a->value;

	if (a->place == USDT_REGISTER || a->place == USDT_MEMORY) {
		__u64 displacement = value;

		if (bpf_probe_read_kernel(&value, sizeof(value), ctx + (a->reg & 0x1ff)))
			return -1;
		if (a->place == USDT_MEMORY) {
			void *at = (void *)(value + displacement);

			__u64 room[2] = {}; /* the verifier knows that a size is below 16 */

			/* Exactly its size: what is after it may not be mapped. */
			if (bpf_probe_read_user(room, a->size & 15, at))
				return -1;
			value = room[0];
		}
	} else if (a->place != USDT_CONSTANT) {
		return -1;
	}
	shift &= 63;
	value <<= shift;
	*v = a->is_signed ? (__u64)((__s64)value >> shift) : value >> shift;
	return 0;
}
