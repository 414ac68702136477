/* What rule sets say of a peer and a port. */
#ifndef VENI_POLICY_H
#define VENI_POLICY_H

#include "layout.h"

#define NOTHING_ALLOWS 0xffffffff

/* The policy of `set` that allows a protocol and a port with an address, as an index of
 * its origins, or NOTHING_ALLOWS. The longest prefix decides alone. */
INLINE __u32 allowed_by(__u32 set, const struct address *peer, __u8 protocol, __u16 port)
{
	struct peer_key peer_key = {.prefix_length = 32 + 128, .set = set, .address = *peer};
	struct port_key port_key = {
		.prefix_length = 64, .protocol = protocol, .port = port};
	__u32 *found = map_lookup(&peers, &peer_key);

	if (!found)
		return NOTHING_ALLOWS;
	port_key.class = *found;
	found = map_lookup(&ports, &port_key);
	return found ? *found : NOTHING_ALLOWS;
}

#endif
