/* Counts and tells what became of a packet. */
#ifndef VENI_VERDICT_H
#define VENI_VERDICT_H

#include "parse.h"

static const __u32 FIRST = 0;

INLINE void count_reason(enum direction direction, enum reason reason)
{
	__u32 at = direction * REASONS + reason;
	__u64 *count = map_lookup(&reasons, &at);

	if (count)
		*count += 1;
}

/* Whether one more record may be told in this second. */
INLINE int within_budget(const struct node *rules, enum record_kind kind, __u32 every)
{
	struct record_budget *budget = map_lookup(&budgets, &FIRST);
	__u64 second = monotonic_ns() / 1000000000ull;

	if (!budget)
		return 0;
	if (kind == RECORD_OPENED && (every == 0 || budget->opened++ % every))
		return 0;
	if (budget->second != second) {
		budget->second = second;
		budget->told = 0;
	}
	if (budget->told++ < rules->records_per_second)
		return 1;
	budget->lost += 1;
	return 0;
}

struct told {
	__u32 ifindex; /* of the endpoint, also where the packet is on another link */
	__u32 set;
	__u32 origin;
	__u8 kind;
	__u8 direction;
	__u8 reason;
};

APART void tell(struct __sk_buff *skb, const struct packet *p, const struct endpoint *endpoint,
		const struct told *told)
{
	struct node *rules = map_lookup(&node, &FIRST);
	struct record_budget *budget;
	struct record *record;

	if (!rules || !(rules->flags & NODE_RECORDS) ||
	    !within_budget(rules, told->kind, rules->record_opened_every))
		return;
	record = ring_reserve(&records, sizeof(*record), 0);
	if (!record) {
		budget = map_lookup(&budgets, &FIRST);
		if (budget)
			budget->lost += 1;
		return;
	}
	record->time = monotonic_ns();
	record->generation = endpoint->generation;
	record->source = p->source;
	record->destination = p->destination;
	record->ifindex = told->ifindex;
	record->length = skb->len;
	record->origin = told->origin;
	record->source_port = p->source_port;
	record->destination_port = p->destination_port;
	record->protocol = p->protocol;
	record->kind = told->kind;
	record->direction = told->direction;
	record->reason = told->reason;
	record->set = told->set;
	ring_submit(record, 0);
}

INLINE int pass(struct __sk_buff *skb, __u32 ifindex, enum direction direction)
{
	struct verdicts *count = map_lookup(&verdicts, &ifindex);

	if (count) {
		count->passed[direction] += 1;
		count->passed_bytes[direction] += skb->len;
	}
	return VERDICT_NEXT;
}

/* A packet that no rule of policy forbids, but that is wrong or not the pod's to send. */
INLINE int drop(struct __sk_buff *skb, const struct packet *p, const struct endpoint *endpoint,
		__u32 ifindex, enum direction direction, enum reason reason)
{
	struct told told = {.ifindex = ifindex, .origin = 0xffffffff, .kind = RECORD_DROPPED,
			    .direction = direction, .reason = reason};
	struct verdicts *count = map_lookup(&verdicts, &ifindex);

	if (count)
		count->dropped[direction] += 1;
	count_reason(direction, reason);
	tell(skb, p, endpoint, &told);
	return VERDICT_DROP;
}

INLINE __u32 node_flags(void)
{
	struct node *rules = map_lookup(&node, &FIRST);

	return rules ? rules->flags : 0;
}

INLINE int in_audit(const struct endpoint *endpoint)
{
	return (endpoint->flags & ENDPOINT_AUDIT) || (node_flags() & NODE_AUDIT);
}

INLINE int awaits_policy(const struct endpoint *endpoint)
{
	return (endpoint->flags & ENDPOINT_UNKNOWN) && (node_flags() & NODE_STRICT);
}

/* A policy forbids the packet. Answers whether it passes all the same, to be watched. */
APART int refuse(struct __sk_buff *skb, const struct packet *p, const struct endpoint *endpoint,
		 struct told *told)
{
	struct verdicts *count = map_lookup(&verdicts, &told->ifindex);
	int audit = in_audit(endpoint);
	__u32 direction = told->direction & 1;

	told->kind = audit ? RECORD_WOULD_DROP : RECORD_DROPPED;
	told->origin = 0xffffffff;
	if (count && audit)
		count->would_drop[direction] += 1;
	else if (count)
		count->dropped[direction] += 1;
	if (!audit)
		count_reason(direction, told->reason);
	tell(skb, p, endpoint, told);
	return audit;
}

#endif
