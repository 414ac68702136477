/* Reads a packet's headers. Trusts nothing: what a pod sends may be of any form. */
#ifndef VENI_PARSE_H
#define VENI_PARSE_H

#include "layout.h"

#define ETHERNET_HEADER 14
#define ETHERTYPE_IPV4 SWAP16(0x0800)
#define ETHERTYPE_ARP SWAP16(0x0806)
#define ETHERTYPE_IPV6 SWAP16(0x86dd)

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION 60
#define PROTOCOL_SCTP 132

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* More headers than any sender has a reason for (RFC 8504, 5.3). */
#define MOST_EXTENSIONS 8

enum shape {
	SHAPE_ARP,
	SHAPE_WHOLE,
	SHAPE_FIRST_FRAGMENT,
	SHAPE_LATER_FRAGMENT,
	SHAPE_NEIGHBOUR, /* neighbour discovery and MLD: never forwarded */
	SHAPE_ICMP_ERROR, /* tells of the packet at `inner` */
};

struct packet {
	struct address source;
	struct address destination;
	__u32 fragment_id;
	__u32 inner; /* offset of the packet that an ICMP error tells of */
	__u16 source_port; /* network order; an echo's identifier in the sender's place */
	__u16 destination_port;
	__u8 protocol;
	__u8 shape;
	__u8 tcp_flags;
	__u8 v6;
	__u8 echo_answer;
};

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
};

struct ipv4 {
	__u8 version_and_length;
	__u8 tos;
	__u16 total_length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};

struct ipv6 {
	__u32 version;
	__u16 payload_length;
	__u8 next;
	__u8 hop_limit;
	struct address source;
	struct address destination;
};

struct arp {
	__u16 hardware;
	__u16 protocol;
	__u8 lengths[2];
	__u16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
};

INLINE void map_ipv4(struct address *to, __u32 address)
{
	to->words[0] = 0;
	to->words[1] = 0;
	to->words[2] = SWAP32(0xffff);
	to->words[3] = address;
}

INLINE int is_mapped(const struct address *address)
{
	return (address->words[0] | address->words[1]) == 0 &&
	       address->words[2] == SWAP32(0xffff);
}

/* Types that tell of another packet (RFC 792, RFC 4443). */
INLINE int is_icmp_error(__u8 protocol, __u8 type)
{
	if (protocol == PROTOCOL_ICMPV6)
		return type >= 1 && type <= 4;
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* Neighbour discovery is valid with a hop limit of 255 alone (RFC 4861), so that nobody
 * can forward it; MLD has 1 (RFC 3810) and goes to groups. What comes with 1 to a single
 * address may have been forwarded with 2. */
INLINE int is_neighbour_message(const struct packet *p, __u8 type, __u8 hop_limit)
{
	__u32 group = SWAP32(0xff000000);

	if (hop_limit == 255)
		return type >= 133 && type <= 137;
	return hop_limit == 1 && ((type >= 130 && type <= 132) || type == 143) &&
	       (p->destination.words[0] & group) == group;
}

INLINE enum reason parse_icmp(struct __sk_buff *skb, struct packet *p, __u32 at, __u8 hop_limit)
{
	struct {
		__u8 type, code;
		__u16 checksum, identifier, sequence;
	} icmp;

	if (load_bytes(skb, at, &icmp, sizeof(icmp)))
		return TRUNCATED;
	if (p->shape == SHAPE_WHOLE && is_icmp_error(p->protocol, icmp.type)) {
		p->shape = SHAPE_ICMP_ERROR;
		p->inner = at + sizeof(icmp);
		return PASSED;
	}
	/* Never in fragments (RFC 6980). */
	if (p->shape == SHAPE_WHOLE && p->v6 && is_neighbour_message(p, icmp.type, hop_limit)) {
		p->shape = SHAPE_NEIGHBOUR;
		return PASSED;
	}
	/* A question and its answer are one flow: the identifier is the asking side's port. */
	p->echo_answer = icmp.type == (p->protocol == PROTOCOL_ICMPV6 ? 129 : 0);
	if (p->echo_answer)
		p->destination_port = icmp.identifier;
	else
		p->source_port = icmp.identifier;
	return PASSED;
}

INLINE enum reason parse_transport(struct __sk_buff *skb, struct packet *p, __u32 at, __u8 hop_limit)
{
	struct {
		__u16 source, destination;
		__u32 sequence, acknowledgement;
		__u8 length, flags;
		__u16 window;
		__u32 rest;
	} tcp;

	switch (p->protocol) {
	case PROTOCOL_TCP:
		if (load_bytes(skb, at, &tcp, sizeof(tcp)))
			return TRUNCATED;
		if (tcp.length >> 4 < 5)
			return MALFORMED;
		p->tcp_flags = tcp.flags;
		break;
	case PROTOCOL_UDP:
		if (load_bytes(skb, at, &tcp, 8))
			return TRUNCATED;
		break;
	case PROTOCOL_SCTP:
		if (load_bytes(skb, at, &tcp, 12))
			return TRUNCATED;
		break;
	case PROTOCOL_ICMP:
		return p->v6 ? PASSED : parse_icmp(skb, p, at, hop_limit);
	case PROTOCOL_ICMPV6:
		return p->v6 ? parse_icmp(skb, p, at, hop_limit) : PASSED;
	default:
		return PASSED;
	}
	p->source_port = tcp.source;
	p->destination_port = tcp.destination;
	return PASSED;
}

/* Packets that a card is still to cut may be longer than the header can say: their
 * length is 0 then (BIG TCP). */
INLINE int too_long(struct __sk_buff *skb, __u32 length)
{
	return length > skb->len - ETHERNET_HEADER;
}

INLINE enum reason parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4 ip;
	__u32 header, length, fragment;

	if (load_bytes(skb, ETHERNET_HEADER, &ip, sizeof(ip)))
		return TRUNCATED;
	header = (ip.version_and_length & 15) * 4;
	length = SWAP16(ip.total_length);
	if (ip.version_and_length >> 4 != 4 || header < sizeof(ip))
		return MALFORMED;
	if (length < header && !(length == 0 && skb->gso_segs > 1))
		return MALFORMED;
	if (too_long(skb, length) || too_long(skb, header))
		return TRUNCATED;
	map_ipv4(&p->source, ip.source);
	map_ipv4(&p->destination, ip.destination);
	p->protocol = ip.protocol;
	p->fragment_id = ip.id;
	fragment = SWAP16(ip.fragment);
	if (fragment & 0x1fff) {
		p->shape = SHAPE_LATER_FRAGMENT;
		return PASSED;
	}
	p->shape = fragment & 0x2000 ? SHAPE_FIRST_FRAGMENT : SHAPE_WHOLE;
	return parse_transport(skb, p, ETHERNET_HEADER + header, ip.ttl);
}

/* Follows the extension headers (RFC 8200, 4). Sets `at` to what comes after them. */
INLINE enum reason parse_extensions(struct __sk_buff *skb, struct packet *p, __u32 *at)
{
	struct {
		__u8 next, length, type, left;
		__u32 id;
	} header;

	for (int i = 0; i <= MOST_EXTENSIONS; i++) {
		switch (p->protocol) {
		case PROTOCOL_HOP_BY_HOP:
		case PROTOCOL_DESTINATION:
		case PROTOCOL_ROUTING:
		case PROTOCOL_FRAGMENT:
		case PROTOCOL_AUTHENTICATION:
			break;
		default:
			return PASSED;
		}
		if (load_bytes(skb, *at, &header, sizeof(header)))
			return TRUNCATED;
		if (p->protocol == PROTOCOL_FRAGMENT) {
			__u32 offset = header.type << 8 | header.left;

			p->fragment_id = header.id;
			if (offset & 0xfff8)
				p->shape = SHAPE_LATER_FRAGMENT;
			else if (offset & 1)
				p->shape = SHAPE_FIRST_FRAGMENT;
			*at += 8;
		} else if (p->protocol == PROTOCOL_AUTHENTICATION) {
			*at += (header.length + 2) * 4;
		} else {
			/* Type 0 leads a packet to addresses that no rule sees (RFC 5095). */
			if (p->protocol == PROTOCOL_ROUTING && header.type == 0)
				return ROUTING_HEADER;
			*at += (header.length + 1) * 8;
		}
		p->protocol = header.next;
		if (p->shape == SHAPE_LATER_FRAGMENT)
			return PASSED;
	}
	return EXTENSION_HEADERS;
}

INLINE enum reason parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6 ip;
	enum reason reason;
	__u32 at = ETHERNET_HEADER + sizeof(ip);

	if (load_bytes(skb, ETHERNET_HEADER, &ip, sizeof(ip)))
		return TRUNCATED;
	if ((ip.version & 0xf0) != 0x60)
		return MALFORMED;
	if (too_long(skb, sizeof(ip) + SWAP16(ip.payload_length)))
		return TRUNCATED;
	/* Rules know IPv4 by these addresses; on a wire they are nobody's (RFC 4291, 2.5.5.2). */
	if (is_mapped(&ip.source) || is_mapped(&ip.destination))
		return MALFORMED;
	p->v6 = 1;
	p->source = ip.source;
	p->destination = ip.destination;
	p->protocol = ip.next;
	p->shape = SHAPE_WHOLE;
	reason = parse_extensions(skb, p, &at);
	if (reason != PASSED || p->shape == SHAPE_LATER_FRAGMENT)
		return reason;
	return parse_transport(skb, p, at, ip.hop_limit);
}

INLINE enum reason parse(struct __sk_buff *skb, const struct ethernet *ethernet, struct packet *p)
{
	struct arp arp;
	__u32 sender;

	switch (ethernet->type) {
	case ETHERTYPE_IPV4:
		return parse_ipv4(skb, p);
	case ETHERTYPE_IPV6:
		return parse_ipv6(skb, p);
	case ETHERTYPE_ARP:
		if (load_bytes(skb, ETHERNET_HEADER, &arp, sizeof(arp)))
			return TRUNCATED;
		p->shape = SHAPE_ARP;
		__builtin_memcpy(&sender, arp.sender, sizeof(sender));
		map_ipv4(&p->source, sender);
		return PASSED;
	default:
		return NOT_IP;
	}
}

#endif
