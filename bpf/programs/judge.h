/* Judges a packet by the policies of one endpoint, for one direction. */
#ifndef VENI_JUDGE_H
#define VENI_JUDGE_H

#include "flows.h"
#include "policy.h"
#include "source.h"
#include "verdict.h"

/* Where fragments were expected: a packet passes up to two of them. */
enum hook { FROM_POD = 0, TO_POD = 1, EXIT = 2 };

struct hop {
	struct __sk_buff *skb;
	const struct endpoint *endpoint;
	__u32 ifindex; /* of the endpoint */
};

/* The mark bit that tells the exit of an answer; a packet of a pod comes without any. */
INLINE __u32 reply_mark(void)
{
	struct node *rules = map_lookup(&node, &FIRST);

	return rules ? rules->reply_mark : 0;
}

INLINE int refused(const struct hop *hop, const struct packet *p, enum direction direction,
		   enum reason reason, __u32 set)
{
	struct told told = {.ifindex = hop->ifindex, .set = set, .direction = direction,
			    .reason = reason};

	return !refuse(hop->skb, p, hop->endpoint, &told);
}

/* `set` is 0 where no policy was asked. */
INLINE void tell_opened(const struct hop *hop, const struct packet *p, enum direction direction,
			__u32 set, __u32 origin)
{
	struct told told = {.ifindex = hop->ifindex, .set = set, .origin = origin,
			    .kind = RECORD_OPENED, .direction = direction};

	tell(hop->skb, p, hop->endpoint, &told);
}

/* The policy in force allows the flow: it is not asked again. One that passes for the
 * audit alone is judged with each packet, and ends with the audit. */
INLINE void settle(struct flow *flow, const struct endpoint *endpoint, __u32 origin)
{
	if (origin == NOTHING_ALLOWS)
		return;
	flow->origin = origin;
	flow->epoch = endpoint->epoch;
}

/* Whether a flow that a peer opened is still allowed; asks the policy once after each
 * change of it. `p` is any packet of the flow. One that is no longer allowed is kept until
 * it ages: forgotten, the next packet the other way would open it anew. */
INLINE int still_allowed_in(const struct hop *hop, const struct packet *p,
			    const struct flow_key *key, struct flow *flow)
{
	const struct endpoint *endpoint = hop->endpoint;
	__u32 origin = 0;

	if (flow->epoch == endpoint->epoch || (flow->flags & FLOW_EXEMPT))
		return 1;
	if (endpoint->ingress_set) {
		origin = allowed_by(endpoint->ingress_set, &key->remote, key->protocol,
				    key->local_port);
		if (origin == NOTHING_ALLOWS &&
		    refused(hop, p, INGRESS, POLICY_INGRESS, endpoint->ingress_set))
			return 0;
	}
	settle(flow, endpoint, origin);
	return 1;
}

/* Whether answers to a flow that the pod opened still pass. The exit has judged it by the
 * address that it really goes to; that is the flow's own where the exit has seen it. */
INLINE int still_allowed_out(const struct hop *hop, const struct packet *p,
			     const struct flow_key *key, struct flow *flow, int *refresh)
{
	const struct endpoint *endpoint = hop->endpoint;
	__u32 origin;

	if (!endpoint->egress_set || flow->epoch == endpoint->epoch)
		return 1;
	/* Translated, or older than the first policy. What the pod sends is judged at the
	 * exit; answers alone do not keep the flow alive. */
	if (!(flow->flags & FLOW_DIRECT)) {
		*refresh = 0;
		return 1;
	}
	origin = allowed_by(endpoint->egress_set, &key->remote, key->protocol, key->remote_port);
	if (origin == NOTHING_ALLOWS &&
	    refused(hop, p, EGRESS, POLICY_EGRESS, endpoint->egress_set))
		return 0;
	settle(flow, endpoint, origin);
	return 1;
}

/* The exit refuses a flow that the pod opened. Nobody may answer to one that never passed;
 * one that did is kept, so that its answers are refused, too. */
INLINE void cut(const struct flow_key *key, struct flow *flow, __u32 ifindex)
{
	if (flow->flags & (FLOW_DIRECT | FLOW_ANSWERED))
		flow->flags |= FLOW_DIRECT;
	else
		forget(key, ifindex);
}

/* Judges what a pod sends, where it leaves: by the address that it really goes to. */
INLINE int may_leave(const struct hop *hop, struct packet *p)
{
	const struct endpoint *endpoint = hop->endpoint;
	struct flow_key key;
	struct flow *flow;
	__u32 origin;

	if (is_closed(p, endpoint)) {
		drop(hop->skb, p, endpoint, hop->ifindex, EGRESS, METADATA);
		return 0;
	}
	if (!endpoint->egress_set || (hop->skb->mark & reply_mark()))
		return 1;
	if (p->shape == SHAPE_LATER_FRAGMENT) {
		if (expected(p, hop->ifindex, EXIT))
			return 1;
		return !refused(hop, p, EGRESS, FRAGMENT_ALONE, endpoint->egress_set);
	}
	name_flow(&key, endpoint, p, EGRESS);
	/* Behind a translation of the source, the flow is still the pod's. */
	key.local = p->v6 ? endpoint->v6 : endpoint->v4;
	flow = map_lookup(&flows, &key);
	if (!flow || flow->opened_by != EGRESS || flow->epoch != endpoint->epoch) {
		origin = allowed_by(endpoint->egress_set, &p->destination, p->protocol,
				    p->destination_port);
		if (origin == NOTHING_ALLOWS &&
		    refused(hop, p, EGRESS, POLICY_EGRESS, endpoint->egress_set)) {
			if (flow && flow->opened_by == EGRESS)
				cut(&key, flow, hop->ifindex);
			return 0;
		}
		if (flow && flow->opened_by == EGRESS) {
			flow->flags |= FLOW_DIRECT;
			settle(flow, endpoint, origin);
		}
	}
	if (p->shape == SHAPE_FIRST_FRAGMENT)
		expect_fragments(p, hop->ifindex, EXIT, 0);
	return 1;
}

#endif
