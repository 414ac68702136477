/*
 * The floor: what one ADD or DEL of a pod costs when nothing but the kernel's
 * work and one question to a daemon is left. It makes the same kernel changes
 * as Veni, in the same order, by raw netlink, and keeps no journal, checks
 * nothing and repairs nothing. The benchmark measures the plugin against it.
 *
 * Build:  gcc -O2 -static -Wall -Wextra -Werror -o floor floor.c
 *
 *   floor serve SOCKET FIRST [NODE]   answers with the addresses FIRST, FIRST+1 ...
 *                                     and NODE, the source address of pod routes
 *   floor                             a CNI plugin: CNI_COMMAND is ADD or DEL, the
 *                                     daemon's socket is in FLOOR_SOCKET
 *   floor reap                        removes the links that DEL has set aside
 *
 * Pod routes go to table 7680. To reach the pods, the host needs
 * `ip rule add priority 512 lookup 7680`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	POD_TABLE = 7680,    /* table of the host's routes to pods */
	DYING_GROUP = 7681,  /* link group of what DEL has set aside */
	ROUTE_PROTOCOL = 199,
	POD_MTU = 9001,
	SLOTS = 1 << 20,     /* addresses the responder hands out */
};

/* What the plugin asks and the responder answers. Addresses in network order. */
struct question { uint64_t attachment; uint32_t release; uint32_t unused; };
struct answer { uint32_t pod; uint32_t node; };

/* ---- failures: a CNI error on standard output ---- */

static int host_netlink = -1;
static int half_built;  /* index of the host's link while an ADD is under way */

static void remove_link(int index);

static _Noreturn void fail(const char *what)
{
	int error = errno;

	if (half_built) {
		int index = half_built;
		half_built = 0;
		remove_link(index);
	}
	printf("{\"cniVersion\":\"1.0.0\",\"code\":999,\"msg\":\"failed to %s: %s\"}\n",
	       what, strerror(error));
	exit(1);
}

static const char *required(const char *name)
{
	const char *value = getenv(name);

	if (!value || !*value) {
		errno = EINVAL;
		fail(name);
	}
	return value;
}

/* ---- netlink: one request in one buffer, one acknowledgement ---- */

struct request {
	struct nlmsghdr header;
	char body[1024];
};

static void begin(struct request *r, int type, int flags, const void *fixed, size_t size)
{
	memset(r, 0, sizeof *r);
	r->header.nlmsg_type = type;
	r->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	r->header.nlmsg_len = NLMSG_LENGTH(size);
	memcpy(r->body, fixed, size);
}

static struct rtattr *attribute(struct request *r, int type, const void *value, size_t size)
{
	struct rtattr *a = (void *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));

	a->rta_type = type;
	a->rta_len = RTA_LENGTH(size);
	if (size)
		memcpy(RTA_DATA(a), value, size);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void number(struct request *r, int type, uint32_t value)
{
	attribute(r, type, &value, sizeof value);
}

/* Ends a nested attribute: all that was appended since belongs to it. */
static void end(struct request *r, struct rtattr *nested)
{
	nested->rta_len = (char *)r + r->header.nlmsg_len - (char *)nested;
}

static int open_netlink(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		fail("open a netlink socket");
	return fd;
}

/* Sends the request, waits for its acknowledgement; 0 or the kernel's errno. */
static int exchange(int fd, struct request *r)
{
	char reply[4096];
	struct nlmsghdr *header = (void *)reply;
	struct nlmsgerr *result;

	if (send(fd, r, r->header.nlmsg_len, 0) < 0)
		return errno;
	if (recv(fd, reply, sizeof reply, 0) < (ssize_t)NLMSG_LENGTH(sizeof *result))
		return errno ? errno : EPROTO;
	if (header->nlmsg_type != NLMSG_ERROR)
		return EPROTO;
	result = NLMSG_DATA(header);
	return -result->error;
}

static void must(int fd, struct request *r, const char *what)
{
	int error = exchange(fd, r);

	if (error) {
		errno = error;
		fail(what);
	}
}

/* ---- links ---- */

static int link_index(int fd, const char *name)
{
	struct ifreq question = {0};

	snprintf(question.ifr_name, IFNAMSIZ, "%s", name);
	return ioctl(fd, SIOCGIFINDEX, &question) ? 0 : question.ifr_ifindex;
}

struct pair {
	char host_name[IFNAMSIZ];
	const char *pod_name;
	uint8_t host_mac[6], pod_mac[6];
	int pod_namespace;
};

/* The peer is born in the pod's namespace: moving it there costs five times as
 * much. Both MACs are given, or udev would rewrite them. */
static void create_pair(const struct pair *p)
{
	struct ifinfomsg none = {0};
	struct rtattr *info, *data, *peer;
	struct request r;

	begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &none, sizeof none);
	attribute(&r, IFLA_IFNAME, p->host_name, strlen(p->host_name) + 1);
	attribute(&r, IFLA_ADDRESS, p->host_mac, 6);
	number(&r, IFLA_MTU, POD_MTU);
	info = attribute(&r, IFLA_LINKINFO, NULL, 0);
	attribute(&r, IFLA_INFO_KIND, "veth", 5);
	data = attribute(&r, IFLA_INFO_DATA, NULL, 0);
	peer = attribute(&r, VETH_INFO_PEER, &none, sizeof none);
	attribute(&r, IFLA_IFNAME, p->pod_name, strlen(p->pod_name) + 1);
	attribute(&r, IFLA_ADDRESS, p->pod_mac, 6);
	number(&r, IFLA_MTU, POD_MTU);
	number(&r, IFLA_NET_NS_FD, p->pod_namespace);
	end(&r, peer);
	end(&r, data);
	end(&r, info);
	must(host_netlink, &r, "create the veth pair");
}

static void link_up(int fd, int index, const char *what)
{
	struct ifinfomsg up = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct request r;

	begin(&r, RTM_NEWLINK, 0, &up, sizeof up);
	must(fd, &r, what);
}

static void remove_link(int index)
{
	struct ifinfomsg link = {.ifi_index = index};
	struct request r;

	begin(&r, RTM_DELLINK, 0, &link, sizeof link);
	exchange(host_netlink, &r);
}

/* Removing a link waits in the kernel; taking it down and out of sight does not. */
static void set_link_aside(int index)
{
	struct ifinfomsg down = {.ifi_index = index, .ifi_change = IFF_UP};
	struct request r;

	begin(&r, RTM_NEWLINK, 0, &down, sizeof down);
	number(&r, IFLA_GROUP, DYING_GROUP);
	must(host_netlink, &r, "set the link aside");
}

/* ---- addresses, routes, neighbours ---- */

static void add_address(int fd, int index, uint32_t address)
{
	struct ifaddrmsg m = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = index};
	struct request r;

	begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &m, sizeof m);
	number(&r, IFA_LOCAL, address);
	number(&r, IFA_ADDRESS, address);
	must(fd, &r, "add the pod's address");
}

struct route {
	int index;
	uint32_t to, bits, via, source, table;  /* 0: not given */
};

static void route_request(struct request *r, int type, int flags, const struct route *route)
{
	struct rtmsg m = {
		.rtm_family = AF_INET,
		.rtm_dst_len = route->bits,
		.rtm_protocol = route->table ? ROUTE_PROTOCOL : RTPROT_BOOT,
		.rtm_scope = route->via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
		.rtm_type = RTN_UNICAST,
	};

	begin(r, type, flags, &m, sizeof m);
	number(r, RTA_TABLE, route->table ? route->table : RT_TABLE_MAIN);
	number(r, RTA_OIF, route->index);
	if (route->bits)
		number(r, RTA_DST, route->to);
	if (route->via)
		number(r, RTA_GATEWAY, route->via);
	if (route->source)
		number(r, RTA_PREFSRC, route->source);
}

static void add_route(int fd, struct route route, const char *what)
{
	struct request r;

	route_request(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route);
	must(fd, &r, what);
}

static void add_neighbour(int fd, int index, uint32_t address, const uint8_t mac[6])
{
	struct ndmsg m = {.ndm_family = AF_INET, .ndm_ifindex = index, .ndm_state = NUD_PERMANENT};
	struct request r;

	begin(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &m, sizeof m);
	number(&r, NDA_DST, address);
	attribute(&r, NDA_LLADDR, mac, 6);
	must(fd, &r, "add the gateway's neighbour entry");
}

/* ---- the daemon: one question, one answer ---- */

static struct sockaddr_un socket_address(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		fail("use the daemon's socket");
	}
	strcpy(address.sun_path, path);
	return address;
}

static struct answer ask(uint64_t attachment, int release)
{
	struct sockaddr_un address = socket_address(required("FLOOR_SOCKET"));
	struct question question = {.attachment = attachment, .release = release};
	struct answer answer;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (void *)&address, sizeof address))
		fail("connect to the daemon");
	if (write(fd, &question, sizeof question) != sizeof question ||
	    read(fd, &answer, sizeof answer) != sizeof answer)
		fail("ask the daemon");
	close(fd);
	return answer;
}

static uint32_t parse_address(const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1) {
		errno = EINVAL;
		fail(text);
	}
	return address.s_addr;
}

static _Noreturn void serve(const char *path, uint32_t first, uint32_t node)
{
	static uint64_t holder[SLOTS];  /* who has the address first + slot */
	struct sockaddr_un address = socket_address(path);
	uint32_t next = 0, slot;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlink(path);
	if (listener < 0 || bind(listener, (void *)&address, sizeof address) || listen(listener, 4096))
		fail("listen");
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct question question = {0};
		struct answer answer = {.node = node};

		if (read(fd, &question, sizeof question) == sizeof question) {
			for (slot = next; question.release && slot > 0; slot--)
				if (holder[slot - 1] == question.attachment)
					break;
			if (!question.release && next < SLOTS)
				slot = ++next;
			if (slot > 0) {
				holder[slot - 1] = question.release ? 0 : question.attachment;
				answer.pod = htonl(ntohl(first) + slot - 1);
			}
			if (write(fd, &answer, sizeof answer) < 0)
				perror("floor: answer");
		}
		close(fd);
	}
}

/* ---- the plugin ---- */

/* FNV-1a over the two names that make an attachment. */
static uint64_t hash_attachment(const char *container, const char *interface)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (; *container; container++)
		hash = (hash ^ (uint8_t)*container) * 0x100000001b3u;
	hash = (hash ^ '/') * 0x100000001b3u;
	for (; *interface; interface++)
		hash = (hash ^ (uint8_t)*interface) * 0x100000001b3u;
	return hash;
}

static void host_name(char name[IFNAMSIZ], uint64_t attachment)
{
	snprintf(name, IFNAMSIZ, "flo%011llx", (unsigned long long)(attachment & 0xfffffffffffu));
}

static int add(uint64_t attachment, const char *namespace_path, const char *interface)
{
	struct answer given = ask(attachment, 0);
	struct pair pair = {.pod_name = interface};
	uint32_t gateway = inet_addr("169.254.1.1");
	char address[INET_ADDRSTRLEN];
	int pod, pod_link;

	if (!given.pod) {
		errno = ENOSPC;
		fail("get an address");
	}
	memcpy(pair.host_mac + 1, &attachment, 5);
	memcpy(pair.pod_mac + 1, &attachment, 5);
	pair.host_mac[0] = 0x02;
	pair.pod_mac[0] = 0x06;
	host_name(pair.host_name, attachment);
	pair.pod_namespace = open(namespace_path, O_RDONLY | O_CLOEXEC);
	if (pair.pod_namespace < 0)
		fail("open the pod's namespace");

	host_netlink = open_netlink();
	create_pair(&pair);
	half_built = link_index(host_netlink, pair.host_name);
	if (!half_built)
		fail("find the new link");

	/* The socket above stays in the host's namespace; the process need not return. */
	if (setns(pair.pod_namespace, CLONE_NEWNET))
		fail("enter the pod's namespace");
	pod = open_netlink();
	pod_link = link_index(pod, interface);
	link_up(pod, pod_link, "bring the pod's link up");
	add_address(pod, pod_link, given.pod);
	add_route(pod, (struct route){.index = pod_link, .to = gateway, .bits = 32},
		  "add the route to the gateway");
	add_route(pod, (struct route){.index = pod_link, .via = gateway}, "add the default route");
	add_neighbour(pod, pod_link, gateway, pair.host_mac);

	link_up(host_netlink, half_built, "bring the host's link up");
	add_route(host_netlink,
		  (struct route){.index = half_built, .to = given.pod, .bits = 32,
				 .source = given.node, .table = POD_TABLE},
		  "add the route to the pod");

	inet_ntop(AF_INET, &given.pod, address, sizeof address);
	printf("{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"%s\"},"
	       "{\"name\":\"%s\",\"sandbox\":\"%s\"}],"
	       "\"ips\":[{\"interface\":1,\"address\":\"%s/32\",\"gateway\":\"169.254.1.1\"}],"
	       "\"routes\":[{\"dst\":\"0.0.0.0/0\",\"gw\":\"169.254.1.1\"}],\"dns\":{}}\n",
	       pair.host_name, interface, namespace_path, address);
	return 0;
}

static int del(uint64_t attachment)
{
	struct answer held = ask(attachment, 1);
	char name[IFNAMSIZ];
	struct request r;
	int index;

	host_netlink = open_netlink();
	host_name(name, attachment);
	index = link_index(host_netlink, name);
	if (index && held.pod) {
		struct route route = {.index = index, .to = held.pod, .bits = 32, .table = POD_TABLE};

		route_request(&r, RTM_DELROUTE, 0, &route);
		exchange(host_netlink, &r);  /* gone already is as good */
	}
	if (index)
		set_link_aside(index);
	return 0;
}

static int reap(void)
{
	struct ifinfomsg any = {0};
	struct request r;

	host_netlink = open_netlink();
	begin(&r, RTM_DELLINK, 0, &any, sizeof any);
	number(&r, IFLA_GROUP, DYING_GROUP);
	errno = exchange(host_netlink, &r);
	if (errno && errno != ENODEV)  /* ENODEV: there are none */
		fail("remove the links set aside");
	return 0;
}

int main(int argc, char **argv)
{
	char config[65536];
	const char *command, *interface;
	uint64_t attachment;

	if (argc >= 4 && !strcmp(argv[1], "serve"))
		serve(argv[2], parse_address(argv[3]), argc > 4 ? parse_address(argv[4]) : 0);
	if (argc == 2 && !strcmp(argv[1], "reap"))
		return reap();
	if (argc > 1) {
		fprintf(stderr, "usage: floor [serve SOCKET FIRST [NODE] | reap]\n");
		return 2;
	}

	/* The configuration says nothing that matters here, but reading it is part of the job. */
	while (read(STDIN_FILENO, config, sizeof config) > 0)
		;
	command = required("CNI_COMMAND");
	interface = required("CNI_IFNAME");
	attachment = hash_attachment(required("CNI_CONTAINERID"), interface);
	if (!strcmp(command, "ADD"))
		return add(attachment, required("CNI_NETNS"), interface);
	if (!strcmp(command, "DEL"))
		return del(attachment);
	errno = ENOSYS;
	fail(command);
}
