// SPDX-License-Identifier: Apache-2.0
#include "agent/sim/sim_call.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/sim/sim_proto.h"

// A thread's own reply channel: kept, because a call must not need new file descriptors (a process that has
// none left would else never see what K2 says of EMFILE). We hold both ends, so the channel itself never
// reports that the host died: the device fd does.
struct channel {
	pid_t pid; // a fork makes it useless for the child
	int local, remote;
};

static pthread_key_t channel_key;
static pthread_once_t channel_once = PTHREAD_ONCE_INIT;
static int channel_key_error;

static void channel_close(struct channel *c)
{
	if (c->local >= 0)
		close(c->local);
	if (c->remote >= 0)
		close(c->remote);
	c->local = c->remote = -1;
}

static void channel_free(void *p)
{
	channel_close(p);
	free(p);
}

static void channel_key_make(void)
{
	channel_key_error = pthread_key_create(&channel_key, channel_free);
}

static int channel_get(struct channel **ret)
{
	pthread_once(&channel_once, channel_key_make);
	if (channel_key_error)
		return -channel_key_error;
	struct channel *c = pthread_getspecific(channel_key);
	if (!c) {
		c = malloc(sizeof(*c));
		if (!c)
			return -ENOMEM;
		c->local = c->remote = -1;
		int r = pthread_setspecific(channel_key, c);
		if (r) {
			free(c);
			return -r;
		}
	}
	if (c->local >= 0 && c->pid != getpid())
		channel_close(c);
	if (c->local < 0) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		c->local = pair[0];
		c->remote = pair[1];
		c->pid = getpid();
	}
	*ret = c;
	return 0;
}

// 0 when the channel is ready for `events`; -ENODEV when whoever serves `fd` is gone.
static int channel_wait(const struct channel *c, int fd, short events)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = c->local, .events = events}, {.fd = fd}};
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (p[0].revents)
			return 0;
		if (!p[1].revents)
			continue;
		// The answer may have come just before the end.
		return poll(p, 1, 0) > 0 ? 0 : -ENODEV;
	}
}

static int channel_send(const struct channel *c, int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->local, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -ENODEV;
		int r = channel_wait(c, fd, POLLOUT);
		if (r < 0)
			return r;
	}
	return 0;
}

// *ret_fd may be NULL where none can come.
static int channel_recv(const struct channel *c, int fd, void *buf, size_t len, int *ret_fd)
{
	uint8_t *p = buf;
	while (len > 0) {
		int r = channel_wait(c, fd, POLLIN);
		if (r < 0)
			return r;
		union {
			char buf[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec iov = {.iov_base = p, .iov_len = len};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
		if (ret_fd) {
			m.msg_control = control.buf;
			m.msg_controllen = sizeof(control.buf);
		}
		ssize_t n = recvmsg(c->local, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return -ENODEV;
		for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); ret_fd && h; h = CMSG_NXTHDR(&m, h))
			if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
			    h->cmsg_len == CMSG_LEN(sizeof(int)))
				memcpy(ret_fd, CMSG_DATA(h), sizeof(int));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int request_send(const struct ls_sim_call *k, const struct channel *c)
{
	struct ls_sim_request req = {.op = k->op, .len = (uint32_t)k->out_len};
	memcpy(req.arg, k->arg, sizeof(req.arg));
	bool bulk = k->out_len > LS_SIM_INLINE;
	struct iovec iov[2] = {
		{.iov_base = &req, .iov_len = sizeof(req)},
		{.iov_base = (void *)(uintptr_t)k->out, .iov_len = bulk ? 0 : k->out_len},
	};
	int fds[2] = {c->remote, k->pass_fd};
	size_t n_fds = k->pass_fd >= 0 ? 2 : 1;
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	memset(&control, 0, sizeof(control));
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = control.buf};
	m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
	ssize_t n;
	do
		n = sendmsg(k->fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? -ENODEV : -errno;
	return bulk ? channel_send(c, k->fd, k->out, k->out_len) : 0;
}

static int reply_recv(struct ls_sim_call *k, const struct channel *c, struct ls_sim_reply *reply)
{
	int r = channel_recv(c, k->fd, reply, sizeof(*reply), &k->ret_fd);
	if (r < 0)
		return r;
	if (reply->len > k->in_cap)
		return -EPROTO;
	k->in_len = reply->len;
	memcpy(k->value, reply->value, sizeof(k->value));
	return channel_recv(c, k->fd, k->in, k->in_len, NULL);
}

int ls_sim_call(struct ls_sim_call *k)
{
	struct channel *c = NULL;
	int r = channel_get(&c);
	if (r < 0)
		return r;
	struct ls_sim_reply reply = {0};
	k->ret_fd = -1;
	r = request_send(k, c);
	if (r == 0)
		r = reply_recv(k, c, &reply);
	if (r < 0) {
		channel_close(c); // a late answer must not meet the next request
		if (k->ret_fd >= 0)
			close(k->ret_fd);
		k->ret_fd = -1;
		return r;
	}
	if (reply.has_fd && k->ret_fd < 0)
		return -EMFILE;
	return reply.status;
}
