/* Whether what comes from a pod is the pod's own to send. */
#ifndef VENI_SOURCE_H
#define VENI_SOURCE_H

#include "parse.h"

#define PORT_DNS SWAP16(53)
#define PORT_DHCP_SERVER SWAP16(67)
#define PORT_DHCP_CLIENT SWAP16(68)

/* The link-local address that the kernel makes of a MAC (RFC 4291, appendix A). */
INLINE int is_own_link_local(const struct address *address, const __u8 *mac)
{
	__u32 high = (mac[0] ^ 2) << 24 | mac[1] << 16 | mac[2] << 8 | 0xff;
	__u32 low = 0xfeu << 24 | mac[3] << 16 | mac[4] << 8 | mac[5];

	return address->words[0] == SWAP32(0xfe800000) && address->words[1] == 0 &&
	       address->words[2] == SWAP32(high) && address->words[3] == SWAP32(low);
}

INLINE int is_unspecified(const struct address *address)
{
	return (address->words[0] | address->words[1] | address->words[3]) == 0 &&
	       (address->words[2] == 0 || address->words[2] == SWAP32(0xffff));
}

INLINE int is_further_source(const struct packet *p, __u32 ifindex)
{
	struct source_key key = {
		.prefix_length = 32 + 128, .ifindex = ifindex, .address = p->source};

	__u32 *allowed = map_lookup(&sources, &key);

	return allowed && *allowed;
}

/* Before a host has an address: DAD and MLD, a question by ARP, and DHCP. */
INLINE int may_be_unspecified(const struct packet *p)
{
	if (p->shape == SHAPE_ARP || p->shape == SHAPE_NEIGHBOUR)
		return 1;
	return !p->v6 && p->protocol == PROTOCOL_UDP && p->source_port == PORT_DHCP_CLIENT &&
	       p->destination_port == PORT_DHCP_SERVER;
}

INLINE enum reason check_source(const struct ethernet *ethernet, const struct packet *p,
				const struct endpoint *endpoint, __u32 ifindex)
{
	const __u8 *mac = endpoint->mac;

	for (int i = 0; i < 6; i++)
		if (ethernet->source[i] != mac[i])
			return SOURCE_MAC;
	if (is_unspecified(&p->source))
		return may_be_unspecified(p) ? PASSED : SOURCE_ADDRESS;
	if (same_address(&p->source, &endpoint->v4) || same_address(&p->source, &endpoint->v6))
		return PASSED;
	if (is_own_link_local(&p->source, mac))
		return PASSED;
	if ((endpoint->flags & ENDPOINT_FURTHER) && is_further_source(p, ifindex))
		return PASSED;
	return SOURCE_ADDRESS;
}

/* Whether the packet goes to an address of the cloud that is closed to this pod. */
INLINE int is_closed(const struct packet *p, const struct endpoint *endpoint)
{
	__u32 *special_flags;

	if (endpoint->flags & ENDPOINT_METADATA)
		return 0;
	special_flags = map_lookup(&special, &p->destination);
	if (!special_flags || !(*special_flags & SPECIAL_METADATA))
		return 0;
	if (p->shape == SHAPE_ARP || p->shape == SHAPE_NEIGHBOUR)
		return 0;
	if (!(*special_flags & SPECIAL_DNS) || p->destination_port != PORT_DNS)
		return 1;
	return p->protocol != PROTOCOL_UDP && p->protocol != PROTOCOL_TCP;
}

#endif
