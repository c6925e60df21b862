/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's TCP sockets, as far as the probe reads them; see kernel.h. Every
 * field is in 6.1, 6.12 and 6.18.
 */
#pragma once

enum { BPF_MAP_TYPE_SK_STORAGE = 24 };
enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7, TCP_CLOSE_WAIT = 8, TCP_LISTEN = 10 };
enum { SHUTDOWN_MASK = 3 };
enum { TCP_CA_RECOVERY = 3, TCP_CA_LOSS = 4 };
#define AF_INET 2
#define AF_INET6 10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum; /* as in /proc/PID/ns/net */
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	unsigned char in6_u[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
};

struct sock {
	struct sock_common __sk_common;
	unsigned char sk_shutdown;
	void *sk_bpf_storage;
};

struct socket {
	struct sock *sk;
};

struct inet_connection_sock {
	__u32 icsk_rto; /* jiffies */
	__u32 icsk_rto_min; /* the same; the least that a timeout is, if its route has none */
	__u8 icsk_ca_state : 5;
	__u8 icsk_retransmits; /* timeouts since the peer last acknowledged something */
	struct {
		__u32 lrcvtime; /* jiffies, last data received */
	} icsk_ack;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 lsndtime; /* jiffies, last data sent */
	__u64 tcp_mstamp; /* CLOCK_MONOTONIC in us, when last something was sent or received */
	__u32 rcv_nxt, snd_nxt, snd_una;
	__u32 high_seq; /* end of the current recovery */
	__u32 srtt_us;  /* smoothed round trip, shifted by 3 */
	__u32 packets_out;
	__u32 data_segs_out, total_retrans;
	__u64 bytes_sent, bytes_acked, bytes_retrans;
};

struct sk_buff {
	unsigned int len;
	unsigned char *data;
};

struct file;
struct request_sock;
struct bpf_map;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

#pragma clang attribute pop
