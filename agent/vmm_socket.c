// SPDX-License-Identifier: Apache-2.0
// The socket that VMMs connect to: SOCK_SEQPACKET, one VmmMessage a packet, fds with the message that names them.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/door.h"
#include "agent/vmm_native_int.h"
#include "common/log.h"
#include "proto/rpc/address.h"

#define PACKET_MAX (128u * 1024u)
#define CONNECTIONS_MAX 256
#define HELLO_MS 10000

struct ls_vmm_socket {
	uv_loop_t *loop;
	struct ls_vmms *vmms;
	char path[108];
	struct ls_door door;
	struct connection *connections;
	unsigned n;
	uint8_t packet[PACKET_MAX + 1];
	bool closing;
};

static void release(struct ls_vmm_socket *s)
{
	if (s->closing && s->n == 0 && s->door.fd < 0)
		free(s);
}

static void on_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;
	struct ls_vmm_socket *s = c->socket;

	if (--c->closing)
		return;
	for (struct connection **at = &s->connections; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	close(c->fd);
	free(c);
	s->n--;
	release(s);
}

void ls_vmm_hang_up(struct connection *c, const char *why)
{
	struct ls_vmm *v = c->vmm;

	if (c->closing)
		return;
	if (why)
		ls_log(LS_LOG_WARN, "vmm.refused", "vm=%s cause=\"%s\"", v ? v->config->name : "?", why);
	c->closing = 2;
	uv_close((uv_handle_t *)&c->poll, on_closed);
	uv_close((uv_handle_t *)&c->hello, on_closed);
	c->vmm = NULL;
	if (v) {
		v->state = NULL;
		ls_vmm_give_nobody(c);
		if (v->connected && !c->socket->closing)
			ls_vmm_gone(v);
	}
}

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct connection *c = poll->data;
	int fds[LS_MAX_DEVICES];
	unsigned n_fds = 0;
	union {
		char buffer[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = c->socket->packet, .iov_len = sizeof(c->socket->packet) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	bool taken = false;
	const char *why = NULL;

	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ls_vmm_hang_up(c, NULL);
		return;
	}
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
			n_fds = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(h), n_fds * sizeof(int));
		}
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n > PACKET_MAX)
		why = "a packet or its file descriptors are too many";
	else
		why = ls_vmm_packet(c, c->socket->packet, (size_t)n, fds, n_fds, &taken);
	if (!taken)
		close_fds(fds, n_fds);
	if (why)
		ls_vmm_hang_up(c, why);
}

static void on_silent(uv_timer_t *timer)
{
	struct connection *c = timer->data;

	ls_vmm_hang_up(c,
		       c->vmm ? "the devices that it asked for did not open, or were not taken, in time" : "no Hello");
}

static void on_connection(void *user, int fd, const struct sockaddr *from)
{
	struct ls_vmm_socket *s = user;
	struct connection *c;

	c = s->n < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		ls_log(LS_LOG_WARN, "vmm.refused", "cause=\"more than %d connections\"", CONNECTIONS_MAX);
		close(fd);
		return;
	}
	c->socket = s;
	c->vmms = s->vmms;
	c->fd = fd;
	c->next = s->connections;
	s->connections = c;
	s->n++;
	uv_poll_init(s->loop, &c->poll, fd);
	uv_timer_init(s->loop, &c->hello);
	c->poll.data = c->hello.data = c;
	uv_poll_start(&c->poll, UV_READABLE | UV_DISCONNECT, on_readable);
	uv_timer_start(&c->hello, on_silent, HELLO_MS, 0);
}

int ls_vmm_socket_open(uv_loop_t *loop, const char *path, struct ls_vmms *vmms, struct ls_vmm_socket **ret,
		       struct ls_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct ls_vmm_socket *s = calloc(1, sizeof(*s));
	int fd;

	if (!s)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	s->loop = loop;
	s->vmms = vmms;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	snprintf(s->path, sizeof(s->path), "%s", path);
	ls_address_remove_dead(&address, SOCK_SEQPACKET);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	// Its group is the folder's where that hands it down (deploy/systemd: VMMs, as lockstep-vmm), else our own.
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, 0660) < 0 ||
	    listen(fd, 16) < 0) {
		int r = ls_fail(err, LS_E_CONFIG, errno, "cannot listen for VMMs on %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		free(s);
		return r;
	}
	ls_door_open(&s->door, loop, fd, "vmm", on_connection, s);
	*ret = s;
	return 0;
}

static void on_door_closed(void *user)
{
	release(user);
}

void ls_vmm_socket_close(struct ls_vmm_socket *s)
{
	if (!s)
		return;
	s->closing = true;
	unlink(s->path);
	for (struct connection *c = s->connections; c; c = c->next)
		ls_vmm_hang_up(c, NULL);
	ls_door_close(&s->door, on_door_closed);
}
