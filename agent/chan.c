// SPDX-License-Identifier: Apache-2.0
#include "agent/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t plain_recv(struct ls_chan *c, void *buf, size_t len, short *wait)
{
	ssize_t n;
	do
		n = recv(c->fd, buf, len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	*wait = POLLIN;
	return n < 0 ? -errno : n;
}

static ssize_t plain_send(struct ls_chan *c, const struct iovec *iov, int n_iov, short *wait)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n_iov};
	ssize_t n;
	do
		n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	*wait = POLLOUT;
	return n < 0 ? -errno : n;
}

static void plain_shutdown(struct ls_chan *c)
{
	shutdown(c->fd, SHUT_RDWR);
}

static void plain_free(struct ls_chan *c)
{
	close(c->fd);
	free(c);
}

static const struct ls_chan_ops plain_ops = {plain_recv, plain_send, plain_shutdown, plain_free};

// A peer that vanished is noticed while idle (keepalive) and while data waits (user timeout).
static void tune_tcp(int fd)
{
	const int on = 1, idle_s = 5, interval_s = 5, probes = 3;
	const unsigned unacked_ms = 15000;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof(unacked_ms));
}

struct ls_chan *ls_chan_plain(int fd)
{
	struct ls_chan *c = malloc(sizeof(*c));
	if (!c) {
		close(fd);
		return NULL;
	}
	*c = (struct ls_chan){.ops = &plain_ops, .fd = fd};
	tune_tcp(fd); // fails without harm where it is no TCP socket
	return c;
}
