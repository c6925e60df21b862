/* SPDX-License-Identifier: GPL-2.0 */
/* The block layer's types, as far as this probe reads them. See bpf/include/kernel.h. */
#pragma once

typedef __u32 blk_opf_t;
typedef __u8 blk_status_t;

/* From include/linux/blk_types.h: the operation is the low byte of the flags. */
#define REQ_OP_MASK 0xff
enum { OP_READ = 0, OP_WRITE = 1, OP_FLUSH = 2 };

/* The values differ between kernels; only the relocated ones may be used. */
enum req_flag_bits { __REQ_PREFLUSH = 18 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk;
};

struct block_device {
	struct gendisk *bd_disk;
};

struct blkcg {
	struct cgroup_subsys_state css;
};

struct blkcg_gq {
	struct blkcg *blkcg;
};

struct bvec_iter {
	unsigned int bi_size;
};

struct bio {
	struct bio *bi_next;
	struct block_device *bi_bdev;
	blk_opf_t bi_opf;
	struct bvec_iter bi_iter;
	struct blkcg_gq *bi_blkg; /* NULL without CONFIG_BLK_CGROUP or on a device without a queue */
};

struct request {
	struct request_queue *q;
	unsigned int __data_len;
	struct bio *bio; /* the first of its chain; NULL of a flush and of passthrough */
};

#pragma clang attribute pop
