// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/sim/simhost.h"
#include "common/clock.h"

static void request_drop(struct sim_request *req)
{
	if (req->reply_fd >= 0)
		close(req->reply_fd);
	if (req->fd >= 0)
		close(req->fd);
	req->reply_fd = req->fd = -1;
}

// An empty message looks like the end; only the end hangs up.
static bool hung_up(int sock)
{
	struct pollfd p = {.fd = sock};
	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

static void take_fds(struct sim_request *req, struct msghdr *m)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[2] = {-1, -1};
		memcpy(fds, CMSG_DATA(h), (n < 2 ? n : 2) * sizeof(int));
		req->reply_fd = fds[0];
		req->fd = fds[1];
	}
}

int sim_recv(int sock, struct sim_request *req)
{
	for (;;) {
		union {
			char buf[CMSG_SPACE(2 * sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec iov[2] = {
			{.iov_base = &req->head, .iov_len = sizeof(req->head)},
			{.iov_base = req->payload, .iov_len = sizeof(req->payload)},
		};
		struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = control.buf,
				   .msg_controllen = sizeof(control.buf)};
		req->reply_fd = req->fd = -1;
		ssize_t n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 && hung_up(sock))
			return 0;
		take_fds(req, &m);
		size_t len = (size_t)n;
		size_t inline_len = req->head.len <= LS_SIM_INLINE ? req->head.len : 0;
		if (len >= sizeof(req->head) && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && req->reply_fd >= 0 &&
		    req->head.len <= LS_SIM_BULK && len == sizeof(req->head) + inline_len)
			return 1;
		request_drop(req); // garbage: nobody to answer
	}
}

int sim_recv_bulk(struct sim_request *req, void *buf)
{
	if (req->head.len <= LS_SIM_INLINE) {
		memcpy(buf, req->payload, req->head.len);
		return 0;
	}
	uint8_t *p = buf;
	size_t left = req->head.len;
	while (left > 0) {
		ssize_t n = recv(req->reply_fd, p, left, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		p += n;
		left -= (size_t)n;
	}
	return 0;
}

static int send_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

void sim_reply(struct sim_request *req, int status, const uint64_t value[2], const void *data, size_t len, int pass_fd)
{
	struct ls_sim_reply reply = {.status = status, .has_fd = pass_fd >= 0, .len = len};
	if (value)
		memcpy(reply.value, value, sizeof(reply.value));
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	memset(&control, 0, sizeof(control));
	struct iovec iov = {.iov_base = &reply, .iov_len = sizeof(reply)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (pass_fd >= 0) {
		m.msg_control = control.buf;
		m.msg_controllen = sizeof(control.buf);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &pass_fd, sizeof(int));
	}
	ssize_t n;
	do
		n = sendmsg(req->reply_fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	// A stream socket takes such a small head whole or not at all.
	if (n == (ssize_t)sizeof(reply))
		send_all(req->reply_fd, data, len);
	if (pass_fd >= 0)
		close(pass_fd);
	request_drop(req);
}

int sim_thread(void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int r = pthread_create(&t, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return -r;
}

uint64_t sim_pace(uint64_t next_ns, uint64_t n, uint64_t rate)
{
	const uint64_t slack = 10000000; // what was missed for longer is not made up for
	const uint64_t grain = 200000;   // shorter waits are gathered
	uint64_t now = ls_now_ns();
	if (next_ns + slack < now)
		next_ns = now;
	if (next_ns > now + grain) {
		struct timespec ts = {.tv_sec = (time_t)(next_ns / 1000000000u),
				      .tv_nsec = (long)(next_ns % 1000000000u)};
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
			;
	}
	return rate ? next_ns + n * 1000000000u / rate : 0;
}
