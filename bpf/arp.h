/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0
 *
 * ARP for IPv4 over Ethernet (RFC 826, RFC 5227).
 */
#ifndef HERALD_ARP_H
#define HERALD_ARP_H

#include "wire.h"

#include <uapi/linux/if_arp.h>

struct arp_frame {
    struct ethhdr eth;
    __be16 htype;
    __be16 ptype;
    __u8 hlen;
    __u8 plen;
    __be16 op;
    __u8 sha[ETH_ALEN];
    __be32 spa;
    __u8 tha[ETH_ALEN];
    __be32 tpa;
} __attribute__((packed));

_Static_assert(sizeof(struct arp_frame) == 42, "arp_frame");

/* A frame that says something about IPv4 on Ethernet, from a station that exists; or none. */
static __always_inline const struct arp_frame *arp_parse(struct __sk_buff *skb)
{
    const struct arp_frame *arp;
    struct cursor c;

    make_linear(skb, sizeof(*arp));
    c = cursor_of(skb);
    arp = take(&c, sizeof(*arp));
    if (!arp || arp->eth.h_proto != NET16(ETH_P_ARP))
        return NULL;
    if (arp->htype != NET16(ARPHRD_ETHER) || arp->ptype != NET16(ETH_P_IP) ||
        arp->hlen != ETH_ALEN || arp->plen != sizeof(__be32))
        return NULL;
    if (!mac_is_station(arp->eth.h_source) || !mac_is_station(arp->sha))
        return NULL;
    return arp;
}

/* Turn a request into its reply. It goes to the Ethernet source, also where SHA is another (Wi-Fi,
 * proxies). */
static __always_inline void arp_answer(struct arp_frame *arp, const __u8 *own)
{
    __be32 asked = arp->tpa;

    eth_answer(&arp->eth, own);
    arp->op = NET16(ARPOP_REPLY);
    __builtin_memcpy(arp->tha, arp->sha, ETH_ALEN);
    arp->tpa = arp->spa;
    __builtin_memcpy(arp->sha, own, ETH_ALEN);
    arp->spa = asked;
}

#endif
