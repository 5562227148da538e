/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0
 *
 * The responder: answers ARP, NDP and pings for the addresses that this node announces, on tc
 * ingress.
 *
 * What it does not answer it passes untouched (TC_ACT_UNSPEC is TCX_NEXT): the next program on the
 * hook and the kernel see it as if this one were not there. It answers only until the session's
 * deadline, so an agent that hangs or is gone falls silent without anybody's help.
 *
 * Compiled by bcc, which knows maps only in this file: the headers beside it read and build frames.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>

#include "layout.h"
#include "arp.h"
#include "ip.h"
#include "nd.h"

#define AF_INET 2
#define AF_INET6 10

/* A storm of frames is no storm of events: ns between two alike for one address. */
#define EVENT_EVERY 100000000ULL

BPF_F_TABLE("hash", struct vip4_key, struct entry, vip4, LAYOUT_ENTRIES, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct vip6_key, struct entry, vip6, LAYOUT_ENTRIES, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", __be32, struct seen, seen4, LAYOUT_ENTRIES, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct ip6_address, struct seen, seen6, LAYOUT_ENTRIES, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct own_key, __u32, own, LAYOUT_INTERFACES, BPF_F_NO_PREALLOC);
BPF_F_TABLE("array", __u32, struct session, session, 1, BPF_F_MMAPABLE);
BPF_RINGBUF_OUTPUT(events, LAYOUT_EVENT_PAGES);

/* One load, neither torn nor repeated. */
static __always_inline __u64 once(const __u64 *word)
{
    return *(const volatile __u64 *)word;
}

/* Whom a frame is about: one of our addresses, on the interface that it came in by. */
struct subject {
    struct entry entry;
    struct seen *seen; /* none: the table is full */
    struct event event;
};

static __always_inline struct session *session_of(void)
{
    __u32 first = 0;

    return session.lookup(&first);
}

static __always_inline int holding(const struct session *s)
{
    return once(&s->mode) == SESSION_HOLD;
}

/* Only a newer claim ends a silence: no renewal, no restart. */
static __always_inline int silenced(const struct subject *of)
{
    return of->seen && of->entry.claimed <= once(&of->seen->silenced);
}

/* May this address be answered now? The session's owner stores its fields one by one, so that
 * reading them in this order never allows what neither its old nor its new values do. */
static __always_inline int may_answer(const struct subject *of, __u64 now)
{
    const struct session *s = session_of();
    __u64 renewed;

    if (!s || silenced(of))
        return 0;
    if (now < once(&s->deadline))
        return 1;
    /* Held past the deadline only where a conflict could be remembered. */
    if (!holding(s) || !of->seen)
        return 0;
    renewed = once(&s->renewed);
    return now < once(&s->fuse) && of->entry.claimed < renewed;
}

static __always_inline void report(struct subject *of, __u16 kind, const __u8 *mac)
{
    of->event.kind = kind;
    __builtin_memcpy(of->event.mac, mac, ETH_ALEN);
    events.ringbuf_output(&of->event, sizeof(of->event), 0);
}

/* Is it this interface's MAC, or that of another of this node's on the same segment? */
static __always_inline int is_own(const struct subject *of, const __u8 *mac)
{
    struct own_key key = {};

    __builtin_memcpy(key.mac, mac, ETH_ALEN);
    return mac_equal(mac, of->entry.mac) || own.lookup(&key);
}

/* Another station claims the address. From the deadline on, it is theirs: see election, Hold. */
static __always_inline void note_conflict(struct subject *of, const __u8 *mac, __u64 now)
{
    const struct session *s = session_of();
    struct seen *seen = of->seen;
    int late = s && holding(s) && now >= once(&s->deadline);
    int news = 0;

    if (!seen)
        return;
    if (late && seen->silenced < of->entry.claimed) {
        seen->silenced = of->entry.claimed;
        news = 1;
    }
    __sync_fetch_and_add(&seen->conflicts, 1);
    if (!news && mac_equal(seen->foreign_mac, mac) && now - seen->reported_at < EVENT_EVERY)
        seen->foreign_at = now;
    else {
        __builtin_memcpy(seen->foreign_mac, mac, ETH_ALEN);
        seen->foreign_ifindex = of->event.ifindex;
        seen->foreign_at = now;
        seen->reported_at = now;
        report(of, news ? EVENT_SILENCED : EVENT_CONFLICT, mac);
    }
}

/* Somebody asks whether the address is free. */
static __always_inline void note_probe(struct subject *of, const __u8 *mac, __u64 now)
{
    struct seen *seen = of->seen;

    if (!seen || now - seen->probed_at < EVENT_EVERY)
        return;
    seen->probed_at = now;
    report(of, EVENT_PROBE, mac);
}

static __always_inline void note_answer(struct subject *of, const __u8 *mac)
{
    struct seen *seen = of->seen;

    if (!seen)
        return;
    __sync_fetch_and_add(&seen->answered, 1);
    if (seen->first_claimed != of->entry.claimed) {
        seen->first_claimed = of->entry.claimed;
        report(of, EVENT_FIRST_ANSWER, mac);
    }
}

/* Replace the frame by its answer and send it out where it came in. */
static __always_inline int send_back(struct __sk_buff *skb, void *answer, __u32 size, __u32 length)
{
    if (skb->len != length && bpf_skb_change_tail(skb, length, 0))
        return TC_ACT_UNSPEC;
    if (bpf_skb_store_bytes(skb, 0, answer, size, 0))
        return TC_ACT_SHOT;
    return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int find4(struct subject *of, __be32 address, __u32 ifindex, __u64 now)
{
    struct vip4_key key = {.address = address, .ifindex = ifindex};
    struct entry *entry = vip4.lookup(&key);
    struct seen fresh = {};

    if (!entry)
        return 0;
    of->entry = *entry;
    of->event = (struct event){.at = now, .ifindex = ifindex, .family = AF_INET};
    __builtin_memcpy(of->event.address, &address, sizeof(address));
    of->seen = seen4.lookup(&address);
    if (!of->seen) {
        seen4.insert(&address, &fresh);
        of->seen = seen4.lookup(&address);
    }
    return 1;
}

static __always_inline int find6(struct subject *of, const struct ip6_address *address,
                                 __u32 ifindex, __u64 now)
{
    struct vip6_key key = {.ifindex = ifindex};
    struct ip6_address name = *address;
    struct seen fresh = {};
    struct entry *entry;

    __builtin_memcpy(key.address, &name, sizeof(name));
    entry = vip6.lookup(&key);
    if (!entry)
        return 0;
    of->entry = *entry;
    of->event = (struct event){.at = now, .ifindex = ifindex, .family = AF_INET6};
    __builtin_memcpy(of->event.address, &name, sizeof(name));
    of->seen = seen6.lookup(&name);
    if (!of->seen) {
        seen6.insert(&name, &fresh);
        of->seen = seen6.lookup(&name);
    }
    return 1;
}

static __always_inline int on_arp(struct __sk_buff *skb)
{
    const struct arp_frame *arp = arp_parse(skb);
    __u64 now = bpf_ktime_get_boot_ns();
    struct arp_frame asked;
    __u8 asker[ETH_ALEN];
    struct subject of;
    int verdict;

    if (!arp)
        return TC_ACT_UNSPEC;
    __builtin_memcpy(&asked, arp, sizeof(asked));

    if (find4(&of, asked.spa, skb->ifindex, now) && !is_own(&of, asked.sha)) {
        note_conflict(&of, asked.sha, now);
        return TC_ACT_UNSPEC;
    }
    if (asked.op != NET16(ARPOP_REQUEST) || !find4(&of, asked.tpa, skb->ifindex, now))
        return TC_ACT_UNSPEC;
    if (!mac_is_broadcast(asked.eth.h_dest) && !mac_equal(asked.eth.h_dest, of.entry.mac))
        return TC_ACT_UNSPEC;
    /* Our own frame, come back by a loop or an access point. */
    if (mac_equal(asked.sha, of.entry.mac) || mac_equal(asked.eth.h_source, of.entry.mac))
        return TC_ACT_UNSPEC;
    if (asked.spa == 0)
        note_probe(&of, asked.sha, now);
    if (!may_answer(&of, now))
        return TC_ACT_UNSPEC;

    __builtin_memcpy(asker, asked.sha, ETH_ALEN);
    arp_answer(&asked, of.entry.mac);
    verdict = send_back(skb, &asked, sizeof(asked), sizeof(asked));
    if (verdict == TC_ACT_REDIRECT)
        note_answer(&of, asker);
    return verdict;
}

/* A neighbour solicitation or advertisement: who says what about which address? */
static __always_inline int on_nd(struct __sk_buff *skb)
{
    __u64 now = bpf_ktime_get_boot_ns();
    struct na_frame answer;
    struct nd_frame *nd = &answer.nd;
    struct subject of;
    __u8 mac[ETH_ALEN];
    int verdict;

    if (!nd_parse(skb, nd, mac))
        return TC_ACT_UNSPEC;
    if (nd->type == ND_ADVERTISEMENT) {
        if (find6(&of, &nd->target, skb->ifindex, now) && !is_own(&of, mac))
            note_conflict(&of, mac, now);
        return TC_ACT_UNSPEC;
    }
    if (find6(&of, &nd->ip.source, skb->ifindex, now) && !is_own(&of, mac)) {
        note_conflict(&of, mac, now);
        return TC_ACT_UNSPEC;
    }
    if (!find6(&of, &nd->target, skb->ifindex, now) || !nd_asks(nd, of.entry.mac))
        return TC_ACT_UNSPEC;
    if (nd_is_dad(nd))
        note_probe(&of, mac, now);
    if (!may_answer(&of, now))
        return TC_ACT_UNSPEC;

    nd_answer(&answer, of.entry.mac);
    verdict = send_back(skb, &answer, sizeof(answer), sizeof(answer));
    if (verdict == TC_ACT_REDIRECT)
        note_answer(&of, mac);
    return verdict;
}

static __always_inline int on_ipv4(struct __sk_buff *skb)
{
    const struct ping4_frame *at;
    struct ping4_frame ping;
    struct subject of;
    struct cursor c;
    __u64 now;

    make_linear(skb, sizeof(*at));
    c = cursor_of(skb);
    at = take(&c, sizeof(*at));
    if (!at || at->ip.protocol != IPPROTO_ICMP || at->icmp.type != ICMP_ECHO)
        return TC_ACT_UNSPEC;
    __builtin_memcpy(&ping, at, sizeof(ping));
    now = bpf_ktime_get_boot_ns();
    if (!ping4_valid(&ping, skb->len) || !find4(&of, ping.ip.dest, skb->ifindex, now))
        return TC_ACT_UNSPEC;
    if (!(of.entry.flags & ENTRY_ANSWER_PING) || !eth_is_for(&ping.eth, of.entry.mac) ||
        !may_answer(&of, now))
        return TC_ACT_UNSPEC;
    ping4_answer(&ping, of.entry.mac);
    return send_back(skb, &ping, sizeof(ping), ETH_HLEN + HOST16(ping.ip.length));
}

static __always_inline int on_ping6(struct __sk_buff *skb, const struct ping6_frame *at)
{
    __u64 now = bpf_ktime_get_boot_ns();
    struct ping6_frame ping;
    struct subject of;

    __builtin_memcpy(&ping, at, sizeof(ping));
    if (!ping6_valid(&ping, skb->len) || !find6(&of, &ping.ip.dest, skb->ifindex, now))
        return TC_ACT_UNSPEC;
    if (!(of.entry.flags & ENTRY_ANSWER_PING) || !eth_is_for(&ping.eth, of.entry.mac) ||
        !may_answer(&of, now))
        return TC_ACT_UNSPEC;
    ping6_answer(&ping, of.entry.mac);
    return send_back(skb, &ping, sizeof(ping),
                     ETH_HLEN + sizeof(struct ip6_header) + HOST16(ping.ip.payload_length));
}

static __always_inline int on_ipv6(struct __sk_buff *skb)
{
    const struct ping6_frame *at;
    struct cursor c;

    make_linear(skb, sizeof(*at));
    c = cursor_of(skb);
    at = take(&c, sizeof(*at));
    if (!at || at->ip.next_header != IPPROTO_ICMPV6)
        return TC_ACT_UNSPEC;
    switch (at->icmp.type) {
    case ND_SOLICITATION:
    case ND_ADVERTISEMENT:
        return on_nd(skb);
    case ICMPV6_ECHO_REQUEST:
        return on_ping6(skb, at);
    default:
        return TC_ACT_UNSPEC;
    }
}

int responder(struct __sk_buff *skb)
{
    /* It comes again, untagged, on the VLAN's own device. */
    if (skb->vlan_present)
        return TC_ACT_UNSPEC;
    switch (skb->protocol) {
    case NET16(ETH_P_ARP):
        return on_arp(skb);
    case NET16(ETH_P_IP):
        return on_ipv4(skb);
    case NET16(ETH_P_IPV6):
        return on_ipv6(skb);
    default:
        return TC_ACT_UNSPEC;
    }
}
