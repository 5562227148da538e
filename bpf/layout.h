/* Copyright: (c) 2026, Herald contributors
 * SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0
 *
 * The shape of the maps: what the agent and the responder agree on.
 *
 * Python's side is agent/src/herald/datapath/layout.py; a test reads the LAYOUT_ lines below and
 * holds each size and offset against it, the compiler holds them against the structs here. Whoever
 * changes any of it counts LAYOUT_VERSION up: pins of another version are never reused.
 *
 * Times are nanoseconds of CLOCK_BOOTTIME, 0 meaning never. Addresses are in network order.
 */
#ifndef HERALD_LAYOUT_H
#define HERALD_LAYOUT_H

#define LAYOUT_VERSION 1
#define LAYOUT_ENTRIES 65536
#define LAYOUT_INTERFACES 4096
#define LAYOUT_EVENT_PAGES 16

/* vip4, vip6: written by the agent only. */
struct vip4_key {
    __be32 address;
    __u32 ifindex;
};

struct vip6_key {
    __u8 address[16];
    __u32 ifindex;
};

struct entry {
    __u8 mac[6];
    __u16 flags;
    __u64 claimed; /* which claim filled it */
};

#define ENTRY_ANSWER_PING 1

/* seen4, seen6, by address: written by the responder only; the agent makes room. */
struct seen {
    __u64 answered;
    __u64 conflicts;
    __u64 silenced;      /* newest claim that a conflict has silenced */
    __u64 first_claimed; /* newest claim whose first answer was reported */
    __u64 foreign_at;
    __u64 reported_at; /* last conflict event */
    __u64 probed_at;   /* last probe event */
    __u8 foreign_mac[6];
    __u8 reserved[6];
    __u32 foreign_ifindex;
};

/* own, MAC -> ifindex: this node's announcing interfaces, written by the agent only. Two may be on
 * one segment, and hear each other. */
struct own_key {
    __u8 mac[6];
    __u8 reserved[2];
};

/* session, index 0: written by the agent only, by single 8-byte stores into the mapped page. */
struct session {
    __u64 deadline;
    __u64 fuse;
    __u64 renewed;
    __u64 mode;
};

#define SESSION_HOLD 1

/* events: a ring buffer of these. */
struct event {
    __u64 at;
    __u32 ifindex;
    __u16 kind;
    __u16 family; /* AF_INET (the first 4 bytes of address) or AF_INET6 */
    __u8 address[16];
    __u8 mac[6];
    __u16 reserved;
};

#define EVENT_CONFLICT 1
#define EVENT_SILENCED 2
#define EVENT_PROBE 3
#define EVENT_FIRST_ANSWER 4

#define LAYOUT_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
#define LAYOUT_FIELD(type, field, offset)                                                          \
    _Static_assert(__builtin_offsetof(struct type, field) == (offset), #type "." #field)

LAYOUT_SIZE(vip4_key, 8);
LAYOUT_FIELD(vip4_key, address, 0);
LAYOUT_FIELD(vip4_key, ifindex, 4);
LAYOUT_SIZE(vip6_key, 20);
LAYOUT_FIELD(vip6_key, address, 0);
LAYOUT_FIELD(vip6_key, ifindex, 16);
LAYOUT_SIZE(entry, 16);
LAYOUT_FIELD(entry, mac, 0);
LAYOUT_FIELD(entry, flags, 6);
LAYOUT_FIELD(entry, claimed, 8);
LAYOUT_SIZE(seen, 72);
LAYOUT_FIELD(seen, answered, 0);
LAYOUT_FIELD(seen, conflicts, 8);
LAYOUT_FIELD(seen, silenced, 16);
LAYOUT_FIELD(seen, first_claimed, 24);
LAYOUT_FIELD(seen, foreign_at, 32);
LAYOUT_FIELD(seen, reported_at, 40);
LAYOUT_FIELD(seen, probed_at, 48);
LAYOUT_FIELD(seen, foreign_mac, 56);
LAYOUT_FIELD(seen, foreign_ifindex, 68);
LAYOUT_SIZE(own_key, 8);
LAYOUT_FIELD(own_key, mac, 0);
LAYOUT_SIZE(session, 32);
LAYOUT_FIELD(session, deadline, 0);
LAYOUT_FIELD(session, fuse, 8);
LAYOUT_FIELD(session, renewed, 16);
LAYOUT_FIELD(session, mode, 24);
LAYOUT_SIZE(event, 40);
LAYOUT_FIELD(event, at, 0);
LAYOUT_FIELD(event, ifindex, 8);
LAYOUT_FIELD(event, kind, 12);
LAYOUT_FIELD(event, family, 14);
LAYOUT_FIELD(event, address, 16);
LAYOUT_FIELD(event, mac, 32);

#endif
