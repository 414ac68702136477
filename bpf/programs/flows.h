/* Remembers flows, so that answers pass. Every flow belongs to one endpoint and is named
 * as that endpoint's pod sees it; between two pods of a node there are two.
 *
 * One endpoint's flood cannot cut another's flows: each has a quota, and a ring of those
 * that nobody has answered yet, in which a new one takes the place of its own oldest. */
#ifndef VENI_FLOWS_H
#define VENI_FLOWS_H

#include "parse.h"
#include "policy.h"

#define SECOND 1000000000ull
/* As long as the kernel waits for the rest of a packet (`ipfrag_time`). */
#define FRAGMENTS_PATIENCE (30 * SECOND)

INLINE void name_flow(struct flow_key *key, const struct endpoint *endpoint,
		      const struct packet *p, enum direction direction)
{
	int out = direction == EGRESS;

	key->generation = endpoint->generation;
	key->local = out ? p->source : p->destination;
	key->remote = out ? p->destination : p->source;
	key->local_port = out ? p->source_port : p->destination_port;
	key->remote_port = out ? p->destination_port : p->source_port;
	key->protocol = p->protocol;
	key->zero[0] = key->zero[1] = key->zero[2] = 0;
}

/* A first packet of TCP: whoever sends it opens a flow, whatever is remembered. */
INLINE int opens(const struct packet *p)
{
	return p->protocol == PROTOCOL_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Notes one more packet. `refresh` is 0 for what must not keep the flow alive. */
INLINE void touch(struct flow *flow, const struct packet *p, enum direction direction, int refresh)
{
	__u64 now = monotonic_ns();
	__u8 flags = flow->flags;

	if (direction != flow->opened_by)
		flags |= FLOW_ANSWERED;
	if (p->protocol == PROTOCOL_TCP) {
		if (p->tcp_flags & TCP_RST)
			flags |= FLOW_RESET;
		if (p->tcp_flags & TCP_FIN)
			flags |= direction == EGRESS ? FLOW_FIN_LOCAL : FLOW_FIN_REMOTE;
	}
	/* Written rarely: other CPUs read the same cache line. */
	if (flags != flow->flags)
		flow->flags = flags;
	if (refresh && now - flow->last_seen > SECOND)
		flow->last_seen = now;
}

/* Takes the oldest half-open flow's place in the ring, and forgets that flow. */
APART void take_place(const struct flow_key *key, struct usage *usage, __u32 place)
{
	struct half_open_key at = {.generation = key->generation, .place = place};
	struct flow_key *oldest = map_lookup(&half_open, &at);
	struct flow *flow;

	if (oldest) {
		flow = map_lookup(&flows, oldest);
		if (flow && flow->half_open_at == place && !(flow->flags & FLOW_ANSWERED) &&
		    map_delete(&flows, oldest) == 0)
			__sync_fetch_and_add(&usage->evicted, 1);
	}
	map_update(&half_open, &at, key, ANY);
}

/* Remembers a flow. Answers 0 where there is no room: then its answers are not known. */
INLINE int remember(const struct flow_key *key, const struct endpoint *endpoint, __u32 ifindex,
		    enum direction opened_by, __u8 flags, __u32 origin)
{
	struct usage *usage = map_lookup(&usages, &ifindex);
	__u64 *gone = map_lookup(&removed, &ifindex);
	__u64 now = monotonic_ns();
	struct flow flow = {.last_seen = now, .opened = now, .opened_by = opened_by,
			    .flags = flags, .origin = origin};

	if (!usage || !gone)
		return 0;
	/* Signed: the loader may count one of an earlier endpoint of this link. */
	if ((long long)(usage->opened - usage->evicted - *gone) >= endpoint->flow_limit) {
		__sync_fetch_and_add(&usage->refused, 1);
		return 0;
	}
	/* The exit is still to judge what the pod opens. */
	if (opened_by == INGRESS && origin != NOTHING_ALLOWS)
		flow.epoch = endpoint->epoch;
	/* A flow of the other direction whose place it takes is no more. */
	if (map_lookup(&flows, key))
		__sync_fetch_and_add(&usage->evicted, 1);
	flow.half_open_at = __sync_fetch_and_add(&usage->opened, 1) % endpoint->half_open_limit;
	take_place(key, usage, flow.half_open_at);
	if (map_update(&flows, key, &flow, ANY)) {
		__sync_fetch_and_add(&usage->evicted, 1);
		__sync_fetch_and_add(&usage->refused, 1);
		return 0;
	}
	return 1;
}

INLINE void forget(const struct flow_key *key, __u32 ifindex)
{
	struct usage *usage = map_lookup(&usages, &ifindex);

	if (map_delete(&flows, key) == 0 && usage)
		__sync_fetch_and_add(&usage->evicted, 1);
}

/* The flow that an ICMP error tells of: one whose packet went the other way. */
APART struct flow *related_flow(struct __sk_buff *skb, const struct packet *p,
				const struct endpoint *endpoint, enum direction direction)
{
	struct packet inner = {};
	struct flow_key key;
	__u16 ports[4] = {};
	__u32 at = p->inner;

	if (p->v6) {
		struct ipv6 ip;

		if (load_bytes(skb, at, &ip, sizeof(ip)))
			return 0;
		inner.source = ip.source;
		inner.destination = ip.destination;
		inner.protocol = ip.next;
		at += sizeof(ip);
	} else {
		struct ipv4 ip;

		if (load_bytes(skb, at, &ip, sizeof(ip)))
			return 0;
		map_ipv4(&inner.source, ip.source);
		map_ipv4(&inner.destination, ip.destination);
		inner.protocol = ip.protocol;
		at += (ip.version_and_length & 15) * 4;
	}
	/* All that has ports has them first; eight bytes of it are there (RFC 792). */
	if (load_bytes(skb, at, ports, sizeof(ports)))
		return 0;
	if (inner.protocol == PROTOCOL_ICMP || inner.protocol == PROTOCOL_ICMPV6) {
		__u8 answer = inner.protocol == PROTOCOL_ICMP ? 0 : 129;

		if ((ports[0] & 0xff) == answer)
			inner.destination_port = ports[2];
		else
			inner.source_port = ports[2];
	} else {
		inner.source_port = ports[0];
		inner.destination_port = ports[1];
	}
	/* It tells whoever sent that packet. To anybody else it would carry what no policy saw. */
	if (!same_address(&p->destination, &inner.source))
		return 0;
	name_flow(&key, endpoint, &inner, direction == INGRESS ? EGRESS : INGRESS);
	return map_lookup(&flows, &key);
}

INLINE void name_fragment(struct fragment_key *key, const struct packet *p, __u32 ifindex, __u8 hook)
{
	key->source = p->source;
	key->destination = p->destination;
	key->id = p->fragment_id;
	key->ifindex = ifindex;
	/* IPv6's fragments name what follows them, each for itself (RFC 8200). */
	key->protocol = p->v6 ? 0 : p->protocol;
	key->hook = hook;
	key->zero[0] = key->zero[1] = 0;
}

/* The first fragment has passed: so may the others, for a while. */
APART void expect_fragments(const struct packet *p, __u32 ifindex, __u8 hook, __u32 mark)
{
	struct fragment fragment = {.seen = monotonic_ns(), .mark = mark};
	struct fragment_key key;

	name_fragment(&key, p, ifindex, hook);
	map_update(&fragments, &key, &fragment, ANY);
}

/* What was noted of the first fragment, if it has passed here. */
INLINE struct fragment *expected(const struct packet *p, __u32 ifindex, __u8 hook)
{
	struct fragment_key key;
	struct fragment *fragment;

	name_fragment(&key, p, ifindex, hook);
	fragment = map_lookup(&fragments, &key);
	if (!fragment || monotonic_ns() - fragment->seen > FRAGMENTS_PATIENCE)
		return 0;
	return fragment;
}

#endif
