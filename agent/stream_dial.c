// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/stream.h"
#include "agent/stream_int.h"
#include "common/clock.h"
#include "proto/rpc/address.h"

// One address: a connected fd, or negative errno.
static int dial(const char *text, const struct sockaddr *to, socklen_t len, uint64_t deadline_ns, int interrupt_fd,
		struct ls_error *err)
{
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot make a socket");
	int error = connect(fd, to, len) < 0 ? errno : 0;
	if (error == EINPROGRESS) {
		int r = ls_wait_fd(fd, POLLOUT, interrupt_fd, deadline_ns, err);
		if (r < 0) {
			close(fd);
			return r;
		}
		socklen_t size = sizeof(error);
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	}
	if (error == 0)
		return fd;
	close(fd);
	return ls_fail(err, LS_E_UNAVAILABLE, error, "cannot connect to the agent at %s", text);
}

static int dial_name(const struct ls_address *a, uint64_t deadline_ns, int interrupt_fd, struct ls_error *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list;
	int e = getaddrinfo(a->host, a->port, &hints, &list);
	if (e)
		return ls_fail(err, LS_E_UNAVAILABLE, EHOSTUNREACH, "%s: %s", a->text, gai_strerror(e));
	int fd = -EHOSTUNREACH;
	for (struct addrinfo *i = list; i && fd < 0 && fd != -ECANCELED; i = i->ai_next)
		fd = dial(a->text, i->ai_addr, i->ai_addrlen, deadline_ns, interrupt_fd, err);
	freeaddrinfo(list);
	return fd;
}

int ls_stream_connect(const char *address, uint64_t timeout_ms, int interrupt_fd, struct ls_stream **ret,
		      struct ls_error *err)
{
	struct ls_address a;
	char why[256];
	if (ls_address_parse(address, &a, why, sizeof(why)) < 0)
		return ls_fail(err, LS_E_INVALID, EINVAL, "%s", why);
	uint64_t deadline_ns = timeout_ms ? ls_now_ns() + timeout_ms * 1000000 : 0;
	int fd;
	if (a.kind == LS_ADDRESS_NAME) {
		fd = dial_name(&a, deadline_ns, interrupt_fd, err);
	} else {
		socklen_t len = a.socket.any.sa_family == AF_INET    ? sizeof(a.socket.v4)
				: a.socket.any.sa_family == AF_INET6 ? sizeof(a.socket.v6)
								     : sizeof(a.socket.local);
		fd = dial(address, &a.socket.any, len, deadline_ns, interrupt_fd, err);
	}
	if (fd < 0)
		return fd;
	int r = ls_stream_adopt(fd, interrupt_fd, ret, err);
	if (r == 0)
		ls_stream_deadline(*ret, deadline_ns);
	return r;
}
