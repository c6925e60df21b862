/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reading along pointers of the kernel without making the verifier slow.
 *
 * Of each pointer that a program reads out of a trusted one (a tracepoint's
 * argument, the current task) the verifier asks, since 6.3, whether it can be trusted
 * in turn: up to five searches through the names of all of the kernel's types, on
 * every path again. That was two thirds of what loading took. What only reads needs
 * no trust: the loads are guarded then, as they were on 6.1 and are after the first
 * pointer anyway. Helpers take the original.
 *
 * 6.1 has no bpf_rdonly_cast(), and asks nothing; elsewhere it is not a call but a
 * move of a register.
 */
#pragma once

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

#define readable(p) \
	((typeof(p))(bpf_rdonly_cast ? bpf_rdonly_cast((p), bpf_core_type_id_kernel(typeof(*(p)))) : (void *)(p)))

/* A field of what may be gone: p is an address, and what is read there may be anything. */
#define load(p, field) \
	(bpf_rdonly_cast ? ((typeof(p))bpf_rdonly_cast((p), bpf_core_type_id_kernel(typeof(*(p)))))->field \
			 : BPF_CORE_READ(p, field))
