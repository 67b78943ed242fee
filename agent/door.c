// SPDX-License-Identifier: Apache-2.0
#include "agent/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

#define PAUSE_MS 100
#define TELL_EVERY_MS 10000

static void on_connection(uv_poll_t *poll, int status, int events);

static void keep_spare(struct ls_door *d)
{
	if (d->spare < 0)
		d->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_pause_over(uv_timer_t *timer)
{
	struct ls_door *d = timer->data;

	keep_spare(d);
	uv_poll_start(&d->poll, UV_READABLE, on_connection);
}

static void tell(struct ls_door *d, int error)
{
	uint64_t now = uv_now(d->poll.loop);
	char event[40];

	if (d->told_ms && now - d->told_ms < TELL_EVERY_MS)
		return;
	d->told_ms = now ? now : 1;
	snprintf(event, sizeof(event), "%s.refused", d->name);
	ls_log(LS_LOG_WARN, event, "cause=\"connections cannot be accepted: %s\"", strerror(error));
}

static void turn_away(struct ls_door *d, int error)
{
	tell(d, error);
	if (d->spare >= 0 && (error == EMFILE || error == ENFILE)) {
		close(d->spare);
		int fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			close(fd);
		d->spare = -1;
		keep_spare(d);
		if (d->spare >= 0 && fd >= 0)
			return;
	}
	uv_poll_stop(&d->poll);
	uv_timer_start(&d->pause, on_pause_over, PAUSE_MS, 0);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct ls_door *d = poll->data;
	struct sockaddr_storage from = { 0 };
	socklen_t size = sizeof(from);
	int fd = accept4(d->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0) {
		keep_spare(d);
		d->came(d->user, fd, (struct sockaddr *)&from);
	} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		turn_away(d, errno);
	}
}

void ls_door_open(struct ls_door *d, uv_loop_t *loop, int fd, const char *name,
		  void (*came)(void *user, int fd, const struct sockaddr *from), void *user)
{
	*d = (struct ls_door){ .fd = fd, .spare = -1, .name = name, .came = came, .user = user };
	keep_spare(d);
	uv_poll_init(loop, &d->poll, fd);
	uv_timer_init(loop, &d->pause);
	d->poll.data = d->pause.data = d;
	uv_poll_start(&d->poll, UV_READABLE, on_connection);
}

static void on_closed(uv_handle_t *handle)
{
	struct ls_door *d = handle->data;

	if (--d->closing)
		return;
	close(d->fd);
	if (d->spare >= 0)
		close(d->spare);
	d->fd = d->spare = -1;
	d->closed(d->user);
}

void ls_door_close(struct ls_door *d, void (*closed)(void *user))
{
	d->closed = closed;
	d->closing = 2;
	uv_close((uv_handle_t *)&d->poll, on_closed);
	uv_close((uv_handle_t *)&d->pause, on_closed);
}
