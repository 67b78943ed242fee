// SPDX-License-Identifier: Apache-2.0
#include "agent/vmm_native.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "lockstep/v1/vmm.pb-c.h"
#include "proto/wire/pb.h"

#define PACKET_MAX (128u * 1024u)
#define BUDGET (1024u * 1024u)
#define CONNECTIONS_MAX 256
#define HELLO_MS 10000

typedef Lockstep__V1__VmmMessage Message;

struct connection {
	struct connection *next;
	struct ls_vmm_socket *socket;
	struct ls_vmm *vmm; // after Hello
	int fd;
	uv_poll_t poll;
	uv_timer_t hello;
	uint32_t id;        // of the request under way
	int closing;
};

struct ls_vmm_socket {
	uv_loop_t *loop;
	struct ls_vmms *vmms;
	char path[108];
	int fd;
	uv_poll_t poll;
	struct connection *connections;
	unsigned n;
	uint8_t packet[PACKET_MAX + 1];
	bool closing;
};

static void release(struct ls_vmm_socket *s)
{
	if (s->closing && s->n == 0 && s->fd < 0)
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

static void hang_up(struct connection *c, const char *why)
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
		if (!c->socket->closing)
			ls_vmm_gone(v);
	}
}

static void say(struct connection *c, Message *message)
{
	uint8_t *bytes;
	size_t len;

	message->id = ++c->id;
	if (ls_pb_pack(&message->base, &bytes, &len) < 0)
		return;
	// A packet goes out whole or not at all; a VMM that lets its queue fill up is not there.
	ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	free(bytes);
	if (n < 0)
		ls_log(LS_LOG_WARN, "vmm.deaf", "vm=%s cause=\"%s\"", c->vmm->config->name, strerror(errno));
}

#define SAY(c, KIND, field, value) \
	do { \
		Message message_ = LOCKSTEP__V1__VMM_MESSAGE__INIT; \
		message_.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_##KIND; \
		message_.field = value; \
		say(c, &message_); \
	} while (0)

static void native_lend(struct ls_vmm *v, const char *migration, bool probe)
{
	Lockstep__V1__VmmLend lend = LOCKSTEP__V1__VMM_LEND__INIT;

	lend.migration = (char *)migration;
	lend.probe = probe;
	SAY(v->state, LEND, lend, &lend);
}

static void next_ready(struct ls_vmm *v)
{
	Lockstep__V1__VmmReady ready = LOCKSTEP__V1__VMM_READY__INIT;
	Lockstep__V1__VmmBlob blob = LOCKSTEP__V1__VMM_BLOB__INIT;

	if (!v->blobs || v->blobs_sent > v->blobs->n) {
		return;
	} else if (v->blobs_sent == v->blobs->n) {
		v->blobs_sent++;
		SAY(v->state, READY, ready, &ready);
		return;
	}
	blob.device = v->blobs->at[v->blobs_sent].device;
	blob.content.data = v->blobs->at[v->blobs_sent].content;
	blob.content.len = v->blobs->at[v->blobs_sent].len;
	v->blobs_sent++;
	SAY(v->state, BLOB, blob, &blob);
}

static void native_request(struct ls_vmm *v, enum ls_vmm_op op)
{
	struct connection *c = v->state;
	Lockstep__V1__VmmPause pause = LOCKSTEP__V1__VMM_PAUSE__INIT;
	Lockstep__V1__VmmFinal final = LOCKSTEP__V1__VMM_FINAL__INIT;
	Lockstep__V1__VmmResume resume = LOCKSTEP__V1__VMM_RESUME__INIT;
	Lockstep__V1__VmmGone gone = LOCKSTEP__V1__VMM_GONE__INIT;
	Lockstep__V1__VmmDiscard discard = LOCKSTEP__V1__VMM_DISCARD__INIT;
	Lockstep__V1__VmmReturn give_back = LOCKSTEP__V1__VMM_RETURN__INIT;

	switch (op) {
	case LS_VMM_PAUSE: SAY(c, PAUSE, pause, &pause); break;
	case LS_VMM_FINAL: SAY(c, FINAL, final, &final); break;
	case LS_VMM_READY: next_ready(v); break;
	case LS_VMM_RESUME: SAY(c, RESUME, resume, &resume); break;
	case LS_VMM_GONE: SAY(c, GONE, gone, &gone); break;
	case LS_VMM_DISCARD: SAY(c, DISCARD, discard, &discard); break;
	case LS_VMM_RETURN: SAY(c, GIVE_BACK, give_back, &give_back); break;
	default: break;
	}
}

const struct ls_vmm_ops ls_vmm_native = {
	.name = "native",
	.lends = true,
	.lend = native_lend,
	.request = native_request,
};

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static const char *on_hello(struct connection *c, const Lockstep__V1__VmmHello *hello)
{
	struct ls_vmm *v;

	if (c->vmm)
		return "a second Hello";
	if (!ls_name_valid(hello->vm) || !(v = ls_vmms_find(c->socket->vmms, hello->vm)))
		return "a VM that this agent's configuration does not name";
	if (v->ops != &ls_vmm_native)
		return "this VM has another adapter";
	if (v->connected)
		return "a VMM of this VM is connected already";
	uv_timer_stop(&c->hello);
	c->vmm = v;
	v->state = c;
	v->connected = true;
	v->incoming = hello->incoming;
	v->ram_bytes = hello->ram_bytes;
	v->events->hello(v->events_user, v);
	return NULL;
}

// Takes over the fds when it returns NULL.
static const char *on_devices(struct ls_vmm *v, const Lockstep__V1__VmmDevices *devices, const int *fds, unsigned n)
{
	struct ls_lent lent = { .n = 0 };

	if (!v->lent)
		return "Devices where none were asked for";
	if (devices->n_name != n)
		return "as many names as file descriptors are wanted";
	for (unsigned i = 0; i < n; i++) {
		if (!ls_name_valid(devices->name[i]))
			return "a device name of 1 to 63 of A-Z a-z 0-9 . _ - is wanted";
		snprintf(lent.at[i].name, sizeof(lent.at[i].name), "%s", devices->name[i]);
		lent.at[i].fd = fds[i];
	}
	lent.n = n;
	ls_vmm_answer(v, NULL, &lent);
	return NULL;
}

static const char *on_answer(struct connection *c, const Message *m, const int *fds, unsigned n_fds)
{
	struct ls_vmm *v = c->vmm;
	struct ls_error err;

	if (!v)
		return "Hello comes first";
	if (!v->busy || m->id != c->id)
		return NULL; // too late: its request was given up
	switch (m->kind_case) {
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_OK:
		if (v->lent)
			return "Devices were asked for";
		if (v->op == LS_VMM_READY && v->blobs_sent <= v->blobs->n)
			next_ready(v);
		else
			ls_vmm_answer(v, NULL, NULL);
		return NULL;
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_ERROR:
		ls_fail(&err, LS_E_VMM_FAILED, m->error->errno_value > 0 ? m->error->errno_value : EIO,
			"the VMM of %s: %.120s", v->config->name, m->error->message);
		ls_vmm_answer(v, &err, NULL);
		return NULL;
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_DEVICES:
		return on_devices(v, m->devices, fds, n_fds);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_BLOB:
		if (v->lent || v->op != LS_VMM_FINAL || !v->blobs)
			return "a Blob that was not asked for";
		if ((m->blob->device[0] && !ls_name_valid(m->blob->device)) ||
		    ls_blobs_add(v->blobs, m->blob->device, m->blob->content.data, m->blob->content.len) < 0)
			return "a Blob twice, too large, too many, or of a bad name";
		return NULL;
	default:
		return "a message that only an agent sends";
	}
}

static const char *on_packet(struct connection *c, size_t len, const int *fds, unsigned n_fds, bool *fds_taken)
{
	ProtobufCMessage *base;
	const char *why;

	if (ls_pb_unpack(&lockstep__v1__vmm_message__descriptor, BUDGET, c->socket->packet, len, &base) < 0)
		return "not a VmmMessage";
	Message *m = (Message *)base;
	bool devices = m->kind_case == LOCKSTEP__V1__VMM_MESSAGE__KIND_DEVICES;
	if (m->kind_case == LOCKSTEP__V1__VMM_MESSAGE__KIND_HELLO) {
		why = on_hello(c, m->hello);
	} else {
		*fds_taken = devices && c->vmm && c->vmm->busy && c->vmm->lent && m->id == c->id &&
			     m->devices->n_name == n_fds;
		why = on_answer(c, m, fds, n_fds);
		if (why)
			*fds_taken = false;
	}
	ls_pb_free(base);
	return why;
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
		hang_up(c, NULL);
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
		why = on_packet(c, (size_t)n, fds, n_fds, &taken);
	if (!taken)
		close_fds(fds, n_fds);
	if (why)
		hang_up(c, why);
}

static void on_silent(uv_timer_t *timer)
{
	hang_up(timer->data, "no Hello");
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct ls_vmm_socket *s = poll->data;
	int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct connection *c;

	if (fd < 0)
		return;
	c = s->n < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		ls_log(LS_LOG_WARN, "vmm.refused", "cause=\"more than %d connections\"", CONNECTIONS_MAX);
		close(fd);
		return;
	}
	c->socket = s;
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

// A socket file whose server is gone refuses connections, and stands in the way of bind.
static void remove_dead(const struct sockaddr_un *address)
{
	struct stat st;
	int fd;

	if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED)
		unlink(address->sun_path);
	close(fd);
}

int ls_vmm_socket_open(uv_loop_t *loop, const char *path, struct ls_vmms *vmms, struct ls_vmm_socket **ret,
		       struct ls_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct ls_vmm_socket *s = calloc(1, sizeof(*s));

	if (!s)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	s->loop = loop;
	s->vmms = vmms;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	snprintf(s->path, sizeof(s->path), "%s", path);
	remove_dead(&address);
	s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, 0600) < 0 ||
	    listen(s->fd, 16) < 0) {
		int r = ls_fail(err, LS_E_CONFIG, errno, "cannot listen for VMMs on %s: %s", path, strerror(errno));
		if (s->fd >= 0)
			close(s->fd);
		free(s);
		return r;
	}
	uv_poll_init(loop, &s->poll, s->fd);
	s->poll.data = s;
	uv_poll_start(&s->poll, UV_READABLE, on_connection);
	*ret = s;
	return 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct ls_vmm_socket *s = handle->data;

	close(s->fd);
	s->fd = -1;
	release(s);
}

void ls_vmm_socket_close(struct ls_vmm_socket *s)
{
	if (!s)
		return;
	s->closing = true;
	unlink(s->path);
	for (struct connection *c = s->connections; c; c = c->next)
		hang_up(c, NULL);
	uv_close((uv_handle_t *)&s->poll, on_listener_closed);
}
