/* The programs that every packet of a pod passes, the same for all pods of a node:
 *
 *   from_pod  ingress of the node's end of a pod's veth pair: whose packet it is, and
 *             whether it answers a flow that is known. Notes what the pod opens.
 *   to_pod    its egress: judges by the policies of the pod that receives, and by those
 *             of a pod of this node that sends.
 *   leaving   egress of a cloud interface: judges by the policies of the pod that sends.
 *
 * What a pod sends is judged where it leaves, for there a Service's address has become a
 * pod's. The kernel tells who sent it: `ingress_ifindex` is the sender's link whatever
 * became of the addresses, and 0 for the node itself. */
#include "judge.h"

char LICENSE[] SEC("license") = "Apache-2.0";

/* Endpoint that nobody knows: for records alone. */
static const struct endpoint NOBODY;

/* What a pod sends: a flow that it opens, or an answer, which is marked. */
INLINE int track_sent(const struct hop *hop, struct packet *p, __u32 *mark)
{
	const struct endpoint *endpoint = hop->endpoint;
	struct flow_key key;
	struct flow *flow;

	name_flow(&key, endpoint, p, EGRESS);
	flow = map_lookup(&flows, &key);
	if (flow && flow->opened_by == INGRESS && !opens(p)) {
		if (!still_allowed_in(hop, p, &key, flow))
			return 0;
		touch(flow, p, EGRESS, 1);
		*mark |= reply_mark();
		return 1;
	}
	if (flow && flow->opened_by == EGRESS) {
		touch(flow, p, EGRESS, 1);
		return 1;
	}
	if (flow)
		forget(&key, hop->ifindex);
	if (remember(&key, endpoint, hop->ifindex, EGRESS, 0, 0))
		tell_opened(hop, p, EGRESS, 0, 0);
	return 1;
}

INLINE int judge_sent(const struct hop *hop, struct packet *p, __u32 *mark)
{
	struct fragment *first;
	struct flow *flow;

	if (p->shape == SHAPE_LATER_FRAGMENT) {
		first = expected(p, hop->ifindex, FROM_POD);
		if (!first) {
			drop(hop->skb, p, hop->endpoint, hop->ifindex, EGRESS, FRAGMENT_ALONE);
			return 0;
		}
		*mark |= first->mark;
		return 1;
	}
	if (p->shape == SHAPE_ICMP_ERROR) {
		flow = related_flow(hop->skb, p, hop->endpoint, EGRESS);
		if (flow && (flow->epoch == hop->endpoint->epoch || (flow->flags & FLOW_EXEMPT)))
			*mark |= reply_mark();
		return 1;
	}
	if (!track_sent(hop, p, mark))
		return 0;
	if (p->shape == SHAPE_FIRST_FRAGMENT)
		expect_fragments(p, hop->ifindex, FROM_POD, *mark & reply_mark());
	return 1;
}

SEC("classifier")
int from_pod(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct endpoint *endpoint = map_lookup(&endpoints, &ifindex);
	struct packet p = {};
	struct ethernet ethernet;
	enum reason reason;
	__u32 mark = skb->mark;

	if (!endpoint)
		return drop(skb, &p, &NOBODY, ifindex, EGRESS, UNKNOWN_INTERFACE);
	if (load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return drop(skb, &p, endpoint, ifindex, EGRESS, TRUNCATED);
	reason = skb->vlan_present ? NOT_IP : parse(skb, &ethernet, &p);
	if (reason == PASSED)
		reason = check_source(&ethernet, &p, endpoint, ifindex);
	if (reason == PASSED && is_closed(&p, endpoint))
		reason = METADATA;
	if (reason != PASSED)
		return drop(skb, &p, endpoint, ifindex, EGRESS, reason);
	if (p.shape == SHAPE_ARP || p.shape == SHAPE_NEIGHBOUR)
		return pass(skb, ifindex, EGRESS);
	if (awaits_policy(endpoint))
		return drop(skb, &p, endpoint, ifindex, EGRESS, POLICY_UNKNOWN);
	if (endpoint->flags & ENDPOINT_MARK)
		mark = (mark & ~endpoint->mark_mask) | endpoint->mark;

	struct hop hop = {.skb = skb, .endpoint = endpoint, .ifindex = ifindex};

	if (!judge_sent(&hop, &p, &mark))
		return VERDICT_DROP;
	skb->mark = mark;
	pass(skb, ifindex, EGRESS);
	/* The device limits the pod's bandwidth. The kernel then goes on with the packet as
	 * having come by this link, without asking the link's filters again. */
	return endpoint->redirect ? redirect_to(endpoint->redirect, 0) : VERDICT_NEXT;
}

/* Whether policies do not apply: the node's own packets, the pod's to itself, and those
 * that kube-proxy has given the node's address, where a setting says so. */
INLINE int is_exempt(const struct hop *hop, const struct packet *p, const struct endpoint *sender)
{
	__u32 from = hop->skb->ingress_ifindex;
	__u32 *flags;

	if (from == 0 || from == hop->ifindex)
		return 1;
	if (sender)
		return 0;
	if (node_flags() & NODE_PORTS_JUDGED)
		return 0;
	flags = map_lookup(&special, &p->source);
	return flags && (*flags & SPECIAL_NODE);
}

/* A flow that a peer opens towards the pod. */
INLINE int open_towards(const struct hop *hop, const struct packet *p, const struct flow_key *key,
			int exempt)
{
	const struct endpoint *endpoint = hop->endpoint;
	__u32 set = endpoint->ingress_set;
	__u32 origin = 0;

	if (set && !exempt) {
		origin = allowed_by(set, &key->remote, key->protocol, key->local_port);
		if (origin == NOTHING_ALLOWS && refused(hop, p, INGRESS, POLICY_INGRESS, set))
			return 0;
	}
	if (remember(key, endpoint, hop->ifindex, INGRESS, exempt ? FLOW_EXEMPT : 0, origin))
		tell_opened(hop, p, INGRESS, exempt ? 0 : set, origin);
	return 1;
}

INLINE int judge_received(const struct hop *hop, const struct packet *p, int exempt)
{
	struct flow_key key;
	struct flow *flow;
	int refresh = 1;

	if (p->shape == SHAPE_LATER_FRAGMENT) {
		if (exempt || !hop->endpoint->ingress_set || expected(p, hop->ifindex, TO_POD))
			return 1;
		return !refused(hop, p, INGRESS, FRAGMENT_ALONE, hop->endpoint->ingress_set);
	}
	if (p->shape == SHAPE_ICMP_ERROR) {
		if (exempt || !hop->endpoint->ingress_set ||
		    related_flow(hop->skb, p, hop->endpoint, INGRESS))
			return 1;
		if (allowed_by(hop->endpoint->ingress_set, &p->source, p->protocol, 0) !=
		    NOTHING_ALLOWS)
			return 1;
		return !refused(hop, p, INGRESS, POLICY_INGRESS, hop->endpoint->ingress_set);
	}
	name_flow(&key, hop->endpoint, p, INGRESS);
	flow = map_lookup(&flows, &key);
	if (flow && flow->opened_by == EGRESS && !opens(p)) {
		if (!still_allowed_out(hop, p, &key, flow, &refresh))
			return 0;
		touch(flow, p, INGRESS, refresh);
	} else if (flow && flow->opened_by == INGRESS) {
		if (!exempt && !still_allowed_in(hop, p, &key, flow))
			return 0;
		touch(flow, p, INGRESS, 1);
	} else if (!open_towards(hop, p, &key, exempt)) {
		return 0;
	}
	if (p->shape == SHAPE_FIRST_FRAGMENT)
		expect_fragments(p, hop->ifindex, TO_POD, 0);
	return 1;
}

SEC("classifier")
int to_pod(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	__u32 from = skb->ingress_ifindex;
	struct endpoint *endpoint = map_lookup(&endpoints, &ifindex);
	struct endpoint *sender = 0;
	struct packet p = {};
	struct ethernet ethernet;
	enum reason reason;

	if (!endpoint)
		return drop(skb, &p, &NOBODY, ifindex, INGRESS, UNKNOWN_INTERFACE);
	if (load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return drop(skb, &p, endpoint, ifindex, INGRESS, TRUNCATED);
	reason = parse(skb, &ethernet, &p);
	if (reason != PASSED)
		return drop(skb, &p, endpoint, ifindex, INGRESS, reason);
	if (p.shape == SHAPE_ARP || p.shape == SHAPE_NEIGHBOUR)
		return pass(skb, ifindex, INGRESS);
	if (from && awaits_policy(endpoint))
		return drop(skb, &p, endpoint, ifindex, INGRESS, POLICY_UNKNOWN);
	if (from && from != ifindex)
		sender = map_lookup(&endpoints, &from);

	struct hop hop = {.skb = skb, .endpoint = endpoint, .ifindex = ifindex};
	struct hop exit = {.skb = skb, .endpoint = sender, .ifindex = from};

	if (sender && !may_leave(&exit, &p))
		return VERDICT_DROP;
	if (!judge_received(&hop, &p, is_exempt(&hop, &p, sender)))
		return VERDICT_DROP;
	return pass(skb, ifindex, INGRESS);
}

SEC("classifier")
int leaving(struct __sk_buff *skb)
{
	__u32 from = skb->ingress_ifindex;
	struct endpoint *sender;
	struct packet p = {};
	struct ethernet ethernet;
	enum reason reason;

	sender = from ? map_lookup(&endpoints, &from) : 0;
	if (!sender)
		return VERDICT_NEXT;
	if (load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return drop(skb, &p, sender, from, EGRESS, TRUNCATED);
	reason = parse(skb, &ethernet, &p);
	if (reason != PASSED)
		return drop(skb, &p, sender, from, EGRESS, reason);
	if (p.shape == SHAPE_ARP || p.shape == SHAPE_NEIGHBOUR)
		return VERDICT_NEXT;

	struct hop hop = {.skb = skb, .endpoint = sender, .ifindex = from};

	return may_leave(&hop, &p) ? VERDICT_NEXT : VERDICT_DROP;
}
