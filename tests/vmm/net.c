// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int resolve(const char *address, struct addrinfo **ret)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	const char *colon = strrchr(address, ':');
	char host[80];
	int skip = address[0] == '[', len;

	if (!colon)
		return -EINVAL;
	len = (int)(colon - address) - 2 * skip;
	if (len <= 0 || len >= (int)sizeof(host))
		return -EINVAL;
	snprintf(host, sizeof(host), "%.*s", len, address + skip);
	return getaddrinfo(host, colon + 1, &hints, ret) ? -EINVAL : 0;
}

int tv_socket_for(const char *address)
{
	struct addrinfo *ai;
	int fd, r = resolve(address, &ai);

	if (r)
		return r;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 ? -errno : fd;
	freeaddrinfo(ai);
	return r;
}

int tv_connect(int fd, const char *address, int timeout_ms)
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct addrinfo *ai;
	int one = 1, r = resolve(address, &ai);

	if (r)
		return r;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r = connect(fd, ai->ai_addr, ai->ai_addrlen) ? -errno : 0;
	freeaddrinfo(ai);
	return r;
}

static int describe(int fd, char *bound, size_t bound_size)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char host[80], port[8];

	if (getsockname(fd, (struct sockaddr *)&sa, &len))
		return -errno;
	if (getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return -EINVAL;
	snprintf(bound, bound_size, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	return 0;
}

int tv_listen(const char *address, char *bound, size_t bound_size)
{
	struct addrinfo *ai;
	int one = 1, fd, r = resolve(address, &ai);

	if (r)
		return r;
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		r = -errno;
	if (!r)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!r && (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 8)))
		r = -errno;
	if (!r)
		r = describe(fd, bound, bound_size);
	freeaddrinfo(ai);
	if (r && fd >= 0)
		close(fd);
	return r ? r : fd;
}

static int unix_address(const char *path, struct sockaddr_un *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memcpy(sa->sun_path, path, strlen(path));
	return 0;
}

int tv_unix_listen(const char *path)
{
	struct sockaddr_un sa;
	int fd, r = unix_address(path, &sa);

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 8)) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int tv_unix_connect(const char *path, int type)
{
	struct sockaddr_un sa;
	int fd, r = unix_address(path, &sa);

	if (r)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int tv_send_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int tv_receive_all(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ECONNRESET;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
