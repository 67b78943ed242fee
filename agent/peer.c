// SPDX-License-Identifier: Apache-2.0
#include "agent/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/door.h"
#include "agent/migration.h"
#include "common/log.h"
#include "proto/rpc/address.h"
#include "proto/wire/frame.h"
#include "proto/wire/pb.h"

#define OPEN_MS 10000
#define OPEN_MAX_BYTES 1024 // an Open is about 300
#define CONNECTIONS_MAX 256 // that have not said Open

struct guest {
	struct guest *next;
	struct ls_peers *peers;
	int fd; // -1: handed on
	uv_poll_t poll;
	uv_timer_t timer;
	struct ls_frame_decoder decoder;
	char address[LS_ADDRESS_SIZE];
	int closing;
};

struct ls_peers {
	struct ls_agent *agent;
	struct ls_door door;
	struct guest *guests;
	unsigned n;
	char address[LS_ADDRESS_SIZE];
	bool closing;
};

static void release(struct ls_peers *p)
{
	if (p->closing && p->n == 0 && p->door.fd < 0)
		free(p);
}

static void on_guest_closed(uv_handle_t *handle)
{
	struct guest *g = handle->data;
	struct ls_peers *p = g->peers;

	if (--g->closing)
		return;
	for (struct guest **at = &p->guests; *at; at = &(*at)->next)
		if (*at == g) {
			*at = g->next;
			break;
		}
	if (g->fd >= 0)
		close(g->fd);
	ls_frame_decoder_clear(&g->decoder);
	free(g);
	p->n--;
	release(p);
}

static void dismiss(struct guest *g, const struct ls_error *err)
{
	if (g->closing)
		return;
	if (err)
		ls_log_error("peer.refused", err, "peer=%s", g->address);
	uv_poll_stop(&g->poll);
	g->closing = 2;
	uv_close((uv_handle_t *)&g->poll, on_guest_closed);
	uv_close((uv_handle_t *)&g->timer, on_guest_closed);
}

// Best effort: the peer hears why.
static void say_error(int fd, const struct ls_error *err)
{
	Lockstep__V1__Frame frame = LOCKSTEP__V1__FRAME__INIT;
	Lockstep__V1__ErrorDetail detail;
	uint8_t *bytes;
	size_t len;

	ls_error_to_pb(err, &detail);
	frame.kind_case = LOCKSTEP__V1__FRAME__KIND_ERROR;
	frame.error = &detail;
	if (ls_frame_encode(&frame, &bytes, &len, NULL) < 0)
		return;
	if (send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		ls_log(LS_LOG_DEBUG, "peer.gone", "cause=\"%s\"", strerror(errno));
	free(bytes);
}

static bool same_token(const uint8_t *a, const uint8_t *b, size_t n)
{
	unsigned char differs = 0;

	for (size_t i = 0; i < n; i++)
		differs |= a[i] ^ b[i];
	return differs == 0;
}

static struct ls_migration *find(struct ls_agent *a, const Lockstep__V1__Open *open, struct ls_error *err)
{
	struct ls_migration *m = ls_migration_recall(a, open->migration);

	if (open->protocol_min > LS_PROTOCOL || open->protocol_max < LS_PROTOCOL) {
		ls_fail(err, LS_E_INVALID, EPROTONOSUPPORT, "protocol %u to %u, this agent speaks %u",
			open->protocol_min, open->protocol_max, LS_PROTOCOL);
		return NULL;
	}
	// An unknown migration and a wrong token look the same from outside.
	if (!m || !m->role || m->params.side != LS_SIDE_DEST || open->token.len != sizeof(m->token) ||
	    !same_token(open->token.data, m->token, sizeof(m->token))) {
		ls_fail(err, LS_E_PERMISSION, EACCES, "no migration here that this token opens");
		return NULL;
	}
	return m;
}

static void on_open(struct guest *g, const Lockstep__V1__Frame *frame)
{
	struct ls_migration *m;
	struct ls_error err;

	if (frame->kind_case != LOCKSTEP__V1__FRAME__KIND_OPEN) {
		ls_fail(&err, LS_E_INVALID, EPROTO, "the first frame is \"%s\", not Open", ls_frame_kind_name(frame));
		dismiss(g, &err);
		return;
	}
	m = find(g->peers->agent, frame->open, &err);
	if (!m) {
		say_error(g->fd, &err);
		dismiss(g, &err);
		return;
	}
	// libuv lets go of an fd when its handle is stopped; a dup keeps ours clear of the closing handle.
	int fd = fcntl(g->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0) {
		ls_fail(&err, LS_E_RESOURCE, errno, "no file descriptor left");
		dismiss(g, &err);
		return;
	}
	int r = frame->open->device[0] ? ls_migration_stream(m, fd, frame->open->device, &err) :
					 ls_migration_control(m, fd, frame->open->source_ledger_id, &err);
	if (r < 0)
		say_error(g->fd, &err);
	dismiss(g, r < 0 ? &err : NULL);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct guest *g = poll->data;
	uint8_t bytes[OPEN_MAX_BYTES];
	enum ls_frame_event event;
	struct ls_error err;
	size_t used;

	ssize_t n = recv(g->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ls_fail(&err, LS_E_INVALID, ECONNRESET, "left without an Open");
		dismiss(g, &err);
		return;
	}
	if (ls_frame_decoder_feed(&g->decoder, bytes, (size_t)n, &used, &event, &err) < 0) {
		dismiss(g, &err);
	} else if (event == LS_FRAME_CONTROL && used == (size_t)n) {
		Lockstep__V1__Frame *frame = ls_frame_decoder_take(&g->decoder);
		on_open(g, frame);
		ls_pb_free(&frame->base);
	} else if (event != LS_FRAME_MORE || g->decoder.length > OPEN_MAX_BYTES) {
		ls_fail(&err, LS_E_INVALID, EPROTO, "the first frame is not an Open that waits for its answer");
		dismiss(g, &err);
	}
}

static void on_silent(uv_timer_t *timer)
{
	struct ls_error err;

	ls_fail(&err, LS_E_INVALID, ETIMEDOUT, "no Open");
	dismiss(timer->data, &err);
}

static void on_connection(void *user, int fd, const struct sockaddr *from)
{
	struct ls_peers *p = user;
	struct guest *g;
	int one = 1;

	g = p->n < CONNECTIONS_MAX ? calloc(1, sizeof(*g)) : NULL;
	if (!g) {
		ls_log(LS_LOG_WARN, "peer.refused", "cause=\"more than %d connections without an Open\"",
		       CONNECTIONS_MAX);
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	ls_address_format(from, g->address, sizeof(g->address));
	g->peers = p;
	g->fd = fd;
	g->next = p->guests;
	p->guests = g;
	p->n++;
	uv_poll_init(p->agent->loop, &g->poll, fd);
	uv_timer_init(p->agent->loop, &g->timer);
	g->poll.data = g->timer.data = g;
	uv_poll_start(&g->poll, UV_READABLE, on_readable);
	uv_timer_start(&g->timer, on_silent, OPEN_MS, 0);
}

int ls_peers_open(struct ls_agent *a, struct ls_peers **ret, struct ls_error *err)
{
	struct ls_peers *p = calloc(1, sizeof(*p));
	struct sockaddr_storage bound;
	struct ls_address address;
	socklen_t size;
	char why[400];
	int one = 1, fd;

	if (!p)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	p->agent = a;
	if (ls_address_parse(a->config->stream, &address, why, sizeof(why)) < 0) {
		free(p);
		return ls_fail(err, LS_E_CONFIG, EINVAL, "stream: %.200s", why);
	}
	size = address.socket.any.sa_family == AF_INET ? sizeof(address.socket.v4) : sizeof(address.socket.v6);
	fd = socket(address.socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, &address.socket.any, size) < 0 || listen(fd, 128) < 0) {
		int r = ls_fail(err, LS_E_CONFIG, errno, "cannot listen on %.200s: %s", a->config->stream,
				strerror(errno));
		if (fd >= 0)
			close(fd);
		free(p);
		return r;
	}
	size = sizeof(bound);
	if (getsockname(fd, (struct sockaddr *)&bound, &size) == 0)
		ls_address_format((struct sockaddr *)&bound, p->address, sizeof(p->address));
	ls_door_open(&p->door, a->loop, fd, "peer", on_connection, p);
	*ret = p;
	return 0;
}

const char *ls_peers_address(const struct ls_peers *p)
{
	return p->address;
}

static void on_door_closed(void *user)
{
	release(user);
}

void ls_peers_close(struct ls_peers *p)
{
	if (!p)
		return;
	p->closing = true;
	for (struct guest *g = p->guests; g; g = g->next)
		dismiss(g, NULL);
	ls_door_close(&p->door, on_door_closed);
}
