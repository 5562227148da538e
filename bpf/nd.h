/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0
 *
 * Neighbour discovery for IPv6 on Ethernet (RFC 4861, 4862).
 */
#ifndef HERALD_ND_H
#define HERALD_ND_H

#include "ip.h"

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_HOP_LIMIT 255
#define ND_SOURCE_ADDRESS 1 /* options */
#define ND_TARGET_ADDRESS 2
#define ND_SOLICITED NET32(0x40000000)
#define ND_OVERRIDE NET32(0x20000000)
#define ND_MOST_OPTIONS 64 /* units of 8 bytes: enough for SEND's signatures (RFC 3971) */

struct nd_frame {
    struct ethhdr eth;
    struct ip6_header ip;
    __u8 type;
    __u8 code;
    __be16 checksum;
    __be32 flags;
    struct ip6_address target;
} __attribute__((packed));

struct nd_option {
    __u8 type;
    __u8 units; /* of 8 bytes, this header included */
    __u8 mac[ETH_ALEN];
} __attribute__((packed));

struct na_frame {
    struct nd_frame nd;
    struct nd_option target_address;
} __attribute__((packed));

struct nd_pseudo_header {
    __be32 length;
    __be32 next_header;
};

#define ND_MESSAGE (sizeof(struct nd_frame) - __builtin_offsetof(struct nd_frame, type))
#define NA_LENGTH (ND_MESSAGE + sizeof(struct nd_option))

_Static_assert(sizeof(struct nd_frame) == 78, "nd_frame");
_Static_assert(sizeof(struct na_frame) == 86, "na_frame");

static __always_inline __s64 nd_pseudo_sum(struct ip6_header *ip, __u32 length)
{
    struct nd_pseudo_header pseudo = {
        .length = NET32(length),
        .next_header = NET32(IPPROTO_ICMPV6),
    };

    return checksum_add(checksum_add(0, &ip->source, 2 * sizeof(ip->source)), &pseudo,
                        sizeof(pseudo));
}

/* The source's or target's MAC: by option, or else the Ethernet source. False where an option has
 * no length or overruns, or the checksum is wrong. */
static __always_inline int nd_options(struct __sk_buff *skb, struct nd_frame *nd, __u8 *mac,
                                      int *said)
{
    __u8 wanted = nd->type == ND_SOLICITATION ? ND_SOURCE_ADDRESS : ND_TARGET_ADDRESS;
    __u32 length = HOST16(nd->ip.payload_length);
    __u32 units = (length - ND_MESSAGE) / sizeof(struct nd_option), next = 0, i;
    __s64 sum = nd_pseudo_sum(&nd->ip, length);
    struct nd_option option;

    sum = checksum_add(sum, &nd->type, ND_MESSAGE);
    __builtin_memcpy(mac, nd->eth.h_source, ETH_ALEN);
    for (i = 0; i < ND_MOST_OPTIONS; i++) {
        if (i >= units)
            break;
        if (bpf_skb_load_bytes(skb, sizeof(*nd) + i * sizeof(option), &option, sizeof(option)))
            return 0;
        sum = checksum_add(sum, &option, sizeof(option));
        if (i != next)
            continue;
        if (!option.units)
            return 0;
        next += option.units;
        if (option.type == wanted && option.units == 1) {
            __builtin_memcpy(mac, option.mac, ETH_ALEN);
            *said = 1;
        }
    }
    return next == units && checksum_fold(sum) == 0;
}

/* A message as a host must have it (RFC 4861, 7.1.1 and 7.1.2), and whose MAC it tells of. */
static __always_inline int nd_parse(struct __sk_buff *skb, struct nd_frame *nd, __u8 *mac)
{
    __u32 length;
    int said = 0;

    if (bpf_skb_load_bytes(skb, 0, nd, sizeof(*nd)))
        return 0;
    length = HOST16(nd->ip.payload_length);
    if (!ip6_is_version(&nd->ip) || nd->ip.hop_limit != ND_HOP_LIMIT || nd->code)
        return 0;
    if (length < ND_MESSAGE || length % sizeof(struct nd_option) ||
        ETH_HLEN + sizeof(nd->ip) + length > skb->len)
        return 0;
    if (!mac_is_station(nd->eth.h_source) || ip6_is_multicast(&nd->ip.source) ||
        ip6_is_multicast(&nd->target))
        return 0;
    if (!nd_options(skb, nd, mac, &said) || !mac_is_station(mac))
        return 0;
    if (nd->type == ND_ADVERTISEMENT)
        return !(ip6_is_multicast(&nd->ip.dest) && (nd->flags & ND_SOLICITED));
    return !(said && ip6_is_unspecified(&nd->ip.source));
}

/* Duplicate address detection: may I have this address? */
static __always_inline int nd_is_dad(const struct nd_frame *nd)
{
    return ip6_is_unspecified(&nd->ip.source);
}

/* ff02::1:ffXX:XXXX and 33:33:ff:XX:XX:XX, of an address that ends in these 3 bytes. */
static __always_inline int nd_solicited_node_differs(const struct ip6_address *group,
                                                     const __u8 *low)
{
    const __u8 *is = group->byte;

    return (is[0] ^ 0xff) | (is[1] ^ 2) | is[2] | is[3] | is[4] | is[5] | is[6] | is[7] | is[8] |
           is[9] | is[10] | (is[11] ^ 1) | (is[12] ^ 0xff) | (is[13] ^ low[0]) | (is[14] ^ low[1]) |
           (is[15] ^ low[2]);
}

static __always_inline int nd_group_mac_differs(const __u8 *mac, const __u8 *low)
{
    return (mac[0] ^ 0x33) | (mac[1] ^ 0x33) | (mac[2] ^ 0xff) | (mac[3] ^ low[0]) |
           (mac[4] ^ low[1]) | (mac[5] ^ low[2]);
}

/* Is it addressed to the target, or to its solicited-node group (DAD: only that), and not by us? */
static __always_inline int nd_asks(const struct nd_frame *nd, const __u8 *own)
{
    const struct ip6_address *group = &nd->ip.dest;
    const __u8 *mac = nd->eth.h_dest;
    const __u8 *low = nd->target.byte + 13;
    int to_group = !nd_solicited_node_differs(group, low);

    if (!to_group && (nd_is_dad(nd) || !ip6_equal(&nd->ip.dest, &nd->target)))
        return 0;
    if (mac_equal(nd->eth.h_source, own))
        return 0;
    /* Access points send multicasts as unicasts. */
    return mac_equal(nd->eth.h_dest, own) || (to_group && !nd_group_mac_differs(mac, low));
}

/* Turn a solicitation into the advertisement that answers it. */
static __always_inline void nd_answer(struct na_frame *answer, const __u8 *own)
{
    struct nd_frame *nd = &answer->nd;
    __s64 sum;

    eth_answer(&nd->eth, own);
    nd->flags = ND_SOLICITED | ND_OVERRIDE;
    nd->ip.dest = nd->ip.source;
    if (nd_is_dad(nd)) {
        __builtin_memset(&nd->eth.h_dest, 0, ETH_ALEN);
        nd->eth.h_dest[0] = nd->eth.h_dest[1] = 0x33;
        nd->eth.h_dest[5] = 1;
        nd->flags = ND_OVERRIDE;
        nd->ip.dest.byte[0] = 0xff; /* ff02::1 */
        nd->ip.dest.byte[1] = 2;
        nd->ip.dest.byte[15] = 1;
    }
    nd->ip.source = nd->target;
    nd->ip.version_class_flow = NET32(0x60000000);
    nd->ip.payload_length = NET16(NA_LENGTH);
    nd->type = ND_ADVERTISEMENT;
    nd->checksum = 0;
    answer->target_address.type = ND_TARGET_ADDRESS;
    answer->target_address.units = 1;
    __builtin_memcpy(answer->target_address.mac, own, ETH_ALEN);
    sum = nd_pseudo_sum(&nd->ip, NA_LENGTH);
    nd->checksum = checksum_fold(checksum_add(sum, &nd->type, NA_LENGTH));
}

#endif
