/* What the programs share with the loader: structures, numbers and maps. The loader has
 * the same in Rust (bpf/loader/src/layout.rs) and compares the sizes and numbers below.
 * Whatever changes here changes LAYOUT there, too. */
#ifndef VENI_LAYOUT_H
#define VENI_LAYOUT_H

#include "kernel.h"

/* An address; of IPv4 as ::ffff:a.b.c.d. In network order. */
struct address {
	__u32 words[4];
};

/* Why a packet was dropped. Numbers are the loader's `Reason`; none is used again. */
enum reason {
	PASSED = 0,
	UNKNOWN_INTERFACE = 1,
	TRUNCATED = 2,
	MALFORMED = 3,
	NOT_IP = 4,
	EXTENSION_HEADERS = 5,
	ROUTING_HEADER = 6,
	SOURCE_MAC = 7,
	SOURCE_ADDRESS = 8,
	METADATA = 9,
	FRAGMENT_ALONE = 10,
	POLICY_INGRESS = 11,
	POLICY_EGRESS = 12,
	POLICY_UNKNOWN = 13,
	REASONS = 14,
};

/* As the loader's `Direction`. */
enum direction { INGRESS = 0, EGRESS = 1, DIRECTIONS = 2 };

/* Flags of an endpoint. */
#define ENDPOINT_METADATA 1 /* may reach the metadata addresses */
#define ENDPOINT_FURTHER 2 /* has elements in `sources` */
#define ENDPOINT_UNKNOWN 4 /* its policy is not known yet */
#define ENDPOINT_AUDIT 8 /* what its policy forbids passes, and is told */
#define ENDPOINT_MARK 16 /* `mark` is put on what it sends */

/* Key: index of the node's end of its veth pair. */
struct endpoint {
	__u64 generation;
	struct address v4;
	struct address v6;
	__u32 ingress_set; /* 0: open */
	__u32 egress_set;
	__u32 epoch; /* counts its policies, from 1 */
	__u32 mark;
	__u32 mark_mask;
	__u8 mac[6];
	__u16 flags;
	__u32 half_open_limit;
	__u32 flow_limit;
	__u32 redirect; /* an ifb device that what the pod sends passes; 0: none */
	__u32 spare[4];
};

/* Rules of the node as a whole; element 0 of `node`. */
#define NODE_AUDIT 1
#define NODE_PORTS_JUDGED 2 /* what kube-proxy masqueraded is judged by the node's address */
#define NODE_RECORDS 4
#define NODE_STRICT 8 /* nothing passes before an endpoint's policy is known */

struct node {
	__u32 flags;
	__u32 reply_mark; /* one bit: the packet answers a flow that a peer opened */
	__u32 records_per_second; /* of one CPU */
	__u32 record_opened_every; /* of opened flows, each how many-th is told; 0: none */
	__u64 spare[4];
};

/* Flags of an address in `special`. */
#define SPECIAL_NODE 1
#define SPECIAL_METADATA 2
#define SPECIAL_DNS 4 /* port 53 stays open */

struct source_key {
	__u32 prefix_length;
	__u32 ifindex;
	struct address address;
};

struct peer_key {
	__u32 prefix_length;
	__u32 set;
	struct address address;
};

struct port_key {
	__u32 prefix_length;
	__u32 class;
	__u8 protocol;
	__u8 zero;
	__u16 port; /* network order */
};

/* A flow as the pod sees it: what the pod opens to a Service has the Service's address. */
struct flow_key {
	__u64 generation;
	struct address local;
	struct address remote;
	__u16 local_port; /* network order; an echo's identifier */
	__u16 remote_port;
	__u8 protocol;
	__u8 zero[3];
};

#define FLOW_ANSWERED 1
#define FLOW_FIN_LOCAL 2
#define FLOW_FIN_REMOTE 4
#define FLOW_RESET 8
#define FLOW_DIRECT 16 /* the exit has seen it with these addresses, and let it pass */
#define FLOW_EXEMPT 32 /* from the node itself, or otherwise beyond policy */

struct flow {
	__u64 last_seen; /* CLOCK_MONOTONIC in ns, no more exact than a second */
	__u64 opened;
	__u32 epoch; /* of the policy that let it pass last; 0: none yet */
	__u32 origin; /* which policy that was, 0: none was asked */
	__u8 opened_by; /* enum direction */
	__u8 flags;
	__u8 zero[2];
	__u32 half_open_at; /* its place in the ring of half-open flows */
	__u64 spare;
};

struct half_open_key {
	__u64 generation;
	__u32 place;
	__u32 zero;
};

/* Counts the flows of an endpoint. The loader alone writes `removed`, the programs the rest. */
struct usage {
	__u64 opened;
	__u64 evicted;
	__u64 refused; /* not tracked, for there are too many */
};

struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id;
	__u32 ifindex;
	__u8 protocol;
	__u8 hook;
	__u8 zero[2];
};

struct fragment {
	__u64 seen;
	__u32 mark;
	__u32 zero;
};

struct verdicts {
	__u64 passed[DIRECTIONS];
	__u64 passed_bytes[DIRECTIONS];
	__u64 dropped[DIRECTIONS];
	__u64 would_drop[DIRECTIONS];
};

enum record_kind { RECORD_OPENED = 0, RECORD_DROPPED = 1, RECORD_WOULD_DROP = 2 };

struct record {
	__u64 time;
	__u64 generation;
	struct address source;
	struct address destination;
	__u32 ifindex; /* of the endpoint */
	__u32 length;
	__u32 origin;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 kind;
	__u8 direction;
	__u8 reason;
	__u32 set;
};

struct record_budget {
	__u64 second;
	__u32 told;
	__u32 opened;
	__u64 lost;
};

_Static_assert(sizeof(struct endpoint) == 96, "endpoint");
_Static_assert(sizeof(struct node) == 48, "node");
_Static_assert(sizeof(struct source_key) == 24, "source_key");
_Static_assert(sizeof(struct peer_key) == 24, "peer_key");
_Static_assert(sizeof(struct port_key) == 12, "port_key");
_Static_assert(sizeof(struct flow_key) == 48, "flow_key");
_Static_assert(sizeof(struct flow) == 40, "flow");
_Static_assert(sizeof(struct half_open_key) == 16, "half_open_key");
_Static_assert(sizeof(struct fragment_key) == 44, "fragment_key");
_Static_assert(sizeof(struct verdicts) == 64, "verdicts");
_Static_assert(sizeof(struct record) == 72, "record");

#define MAP(name_, type_, key_, value_, entries_, flags_)                                          \
	struct {                                                                                   \
		__uint(type, type_);                                                               \
		__type(key, key_);                                                                 \
		__type(value, value_);                                                             \
		__uint(max_entries, entries_);                                                     \
		__uint(map_flags, flags_);                                                         \
		__uint(pinning, PIN_BY_NAME);                                                      \
	} name_ SEC(".maps")

#define ENDPOINTS 4096
#define HALF_OPEN_PLACES 1024

MAP(endpoints, MAP_HASH, __u32, struct endpoint, ENDPOINTS, 0);
MAP(verdicts, MAP_PERCPU_HASH, __u32, struct verdicts, ENDPOINTS, NO_PREALLOC);
MAP(usages, MAP_HASH, __u32, struct usage, ENDPOINTS, NO_PREALLOC);
MAP(removed, MAP_HASH, __u32, __u64, ENDPOINTS, NO_PREALLOC);
MAP(reasons, MAP_PERCPU_ARRAY, __u32, __u64, REASONS * DIRECTIONS, 0);
MAP(node, MAP_ARRAY, __u32, struct node, 1, 0);
MAP(special, MAP_HASH, struct address, __u32, 1024, NO_PREALLOC);
MAP(sources, MAP_LPM_TRIE, struct source_key, __u32, 16384, NO_PREALLOC);
MAP(peers, MAP_LPM_TRIE, struct peer_key, __u32, 1048576, NO_PREALLOC);
MAP(ports, MAP_LPM_TRIE, struct port_key, __u32, 262144, NO_PREALLOC);
MAP(flows, MAP_HASH, struct flow_key, struct flow, 262144, NO_PREALLOC);
MAP(half_open, MAP_HASH, struct half_open_key, struct flow_key, 262144, NO_PREALLOC);
MAP(fragments, MAP_LRU_HASH, struct fragment_key, struct fragment, 8192, 0);
MAP(budgets, MAP_PERCPU_ARRAY, __u32, struct record_budget, 1, 0);

struct {
	__uint(type, MAP_RING_BUFFER);
	__uint(max_entries, 1048576);
	__uint(pinning, PIN_BY_NAME);
} records SEC(".maps");

INLINE int same_address(const struct address *one, const struct address *other)
{
	return one->words[0] == other->words[0] && one->words[1] == other->words[1] &&
	       one->words[2] == other->words[2] && one->words[3] == other->words[3];
}

#endif
