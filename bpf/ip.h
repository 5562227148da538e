/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0
 *
 * IPv4 and IPv6 without options or fragments, and pings: all that a reply to a ping takes.
 */
#ifndef HERALD_IP_H
#define HERALD_IP_H

#include "wire.h"

#include <uapi/linux/icmp.h>
#include <uapi/linux/icmpv6.h>
#include <uapi/linux/in.h>

#define ANSWER_TTL 64
#define IP4_VERSION_AND_LENGTH 0x45 /* no options */
#define IP4_FRAGMENT 0x3fff         /* more fragments, or an offset */

struct ip4_header {
    __u8 version_and_length;
    __u8 tos;
    __be16 length;
    __be16 id;
    __be16 fragment;
    __u8 ttl;
    __u8 protocol;
    __be16 checksum;
    __be32 source;
    __be32 dest;
} __attribute__((packed));

struct ip6_address {
    __u8 byte[16];
};

struct ip6_header {
    __be32 version_class_flow;
    __be16 payload_length;
    __u8 next_header;
    __u8 hop_limit;
    struct ip6_address source;
    struct ip6_address dest;
} __attribute__((packed));

struct ping {
    __u8 type;
    __u8 code;
    __be16 checksum;
    __be16 id;
    __be16 sequence;
} __attribute__((packed));

struct ping4_frame {
    struct ethhdr eth;
    struct ip4_header ip;
    struct ping icmp;
} __attribute__((packed));

struct ping6_frame {
    struct ethhdr eth;
    struct ip6_header ip;
    struct ping icmp;
} __attribute__((packed));

_Static_assert(sizeof(struct ping4_frame) == 42, "ping4_frame");
_Static_assert(sizeof(struct ping6_frame) == 62, "ping6_frame");

static __always_inline int ip6_is_version(const struct ip6_header *ip)
{
    return (ip->version_class_flow & NET32(0xf0000000)) == NET32(0x60000000);
}

static __always_inline int ip6_equal(const struct ip6_address *a, const struct ip6_address *b)
{
    __u64 differs = 0;
    int i;

#pragma unroll
    for (i = 0; i < 16; i++) {
        differs |= a->byte[i] ^ b->byte[i];
        /* The value itself, not a branch for each byte: clang 19 makes those where the other
         * address is a constant, and the verifier follows every way through them. */
        asm volatile("" : "+r"(differs));
    }
    return !differs;
}

static __always_inline int ip6_is_multicast(const struct ip6_address *address)
{
    return address->byte[0] == 0xff;
}

static __always_inline int ip6_is_unspecified(const struct ip6_address *address)
{
    struct ip6_address none = {};

    return ip6_equal(address, &none);
}

/* Sent to us alone, by a station other than us. */
static __always_inline int eth_is_for(const struct ethhdr *eth, const __u8 *own)
{
    return mac_equal(eth->h_dest, own) && mac_is_station(eth->h_source) &&
           !mac_equal(eth->h_source, own);
}

/* The message's own checksum is not verified but carried over: wrong stays wrong. */
static __always_inline int ping4_valid(struct ping4_frame *ping, __u32 frame_length)
{
    struct ip4_header *ip = &ping->ip;
    __u32 source = NET32(ip->source);
    __u16 length = HOST16(ip->length);

    if (ip->version_and_length != IP4_VERSION_AND_LENGTH || (ip->fragment & NET16(IP4_FRAGMENT)))
        return 0;
    if (length < sizeof(*ip) + sizeof(ping->icmp) || ETH_HLEN + length > frame_length)
        return 0;
    if (checksum_fold(checksum_add(0, ip, sizeof(*ip))) || ping->icmp.code)
        return 0;
    /* "This network", loopback, multicast, broadcast, the address itself: nobody's source. */
    return source >> 24 && source >> 24 != 127 && source >> 28 < 14 && ip->source != ip->dest;
}

static __always_inline void ping4_answer(struct ping4_frame *ping, const __u8 *own)
{
    struct ip4_header *ip = &ping->ip;
    __be32 asked = ip->dest;

    eth_answer(&ping->eth, own);
    ip->dest = ip->source;
    ip->source = asked;
    ip->ttl = ANSWER_TTL;
    ip->checksum = 0;
    ip->checksum = checksum_fold(checksum_add(0, ip, sizeof(*ip)));
    ping->icmp.type = ICMP_ECHOREPLY;
    ping->icmp.checksum =
        checksum_change(ping->icmp.checksum, NET16(ICMP_ECHO << 8), NET16(ICMP_ECHOREPLY << 8));
}

static __always_inline int ping6_valid(const struct ping6_frame *ping, __u32 frame_length)
{
    const struct ip6_header *ip = &ping->ip;
    __u16 length = HOST16(ip->payload_length);

    if (!ip6_is_version(ip) || length < sizeof(ping->icmp) || ping->icmp.code)
        return 0;
    if (ETH_HLEN + sizeof(*ip) + length > frame_length)
        return 0;
    return !ip6_is_multicast(&ip->source) && !ip6_is_unspecified(&ip->source) &&
           !ip6_equal(&ip->source, &ip->dest);
}

static __always_inline void ping6_answer(struct ping6_frame *ping, const __u8 *own)
{
    struct ip6_header *ip = &ping->ip;
    struct ip6_address asked = ip->dest;

    eth_answer(&ping->eth, own);
    ip->dest = ip->source;
    ip->source = asked;
    ip->hop_limit = ANSWER_TTL;
    ping->icmp.type = ICMPV6_ECHO_REPLY;
    ping->icmp.checksum = checksum_change(ping->icmp.checksum, NET16(ICMPV6_ECHO_REQUEST << 8),
                                          NET16(ICMPV6_ECHO_REPLY << 8));
}

#endif
