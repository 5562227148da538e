/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0
 *
 * Reading frames with a cursor, in the manner of xdp-tools: each step checks the bounds once.
 *
 * Nothing here writes to a frame through a pointer: a program that does makes the kernel unshare
 * every cloned frame before the program starts (bpf_unclone_prologue, net/core/filter.c), also
 * those that are none of our business. Answers are built on the stack and stored in one piece.
 */
#ifndef HERALD_WIRE_H
#define HERALD_WIRE_H

#include <uapi/linux/if_ether.h>
#include <uapi/linux/types.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) ((__be16)__builtin_bswap16(x))
#define NET32(x) ((__be32)__builtin_bswap32(x))
#else
#define NET16(x) ((__be16)(x))
#define NET32(x) ((__be32)(x))
#endif

#define HOST16(x) ((__u16)NET16(x))

struct cursor {
    void *at;
    void *end;
};

/* The frame's linear part. */
static __always_inline struct cursor cursor_of(struct __sk_buff *skb)
{
    return (struct cursor){
        .at = (void *)(long)skb->data,
        .end = (void *)(long)skb->data_end,
    };
}

/* The next size bytes, or none: the cursor stays in front of what is too short. */
static __always_inline void *take(struct cursor *c, __u32 size)
{
    void *here = c->at;

    if (here + size > c->end)
        return NULL;
    c->at = here + size;
    return here;
}

/* Drivers may leave all but the first bytes of a frame in its fragments: have size bytes linear. */
static __always_inline void make_linear(struct __sk_buff *skb, __u32 size)
{
    if ((void *)(long)skb->data + size > (void *)(long)skb->data_end && skb->len >= size)
        bpf_skb_pull_data(skb, size);
}

static __always_inline int mac_equal(const __u8 *a, const __u8 *b)
{
    return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) |
             (a[5] ^ b[5]));
}

/* An address that a single station can have: no group bit, not zero. */
static __always_inline int mac_is_station(const __u8 *mac)
{
    return !(mac[0] & 1) && (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

static __always_inline int mac_is_broadcast(const __u8 *mac)
{
    return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

static __always_inline void eth_answer(struct ethhdr *eth, const __u8 *own)
{
    __builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
    __builtin_memcpy(eth->h_source, own, ETH_ALEN);
}

/* The internet checksum (RFC 1071) of what is summed up so far: 0 where a correct one is included.
 */
static __always_inline __u16 checksum_fold(__s64 sum)
{
    __u32 folded = (__u32)sum;

    folded = (folded & 0xffff) + (folded >> 16);
    folded = (folded & 0xffff) + (folded >> 16);
    return (__u16)~folded;
}

/* size is a multiple of 4 */
static __always_inline __s64 checksum_add(__s64 sum, void *data, __u32 size)
{
    return bpf_csum_diff(NULL, 0, data, size, (__u32)sum);
}

/* A 16-bit word under a checksum has changed (RFC 1624, equation 3). */
static __always_inline __be16 checksum_change(__be16 checksum, __be16 from, __be16 to)
{
    return checksum_fold((__s64)(__u16)~checksum + (__u16)~from + to);
}

#endif
