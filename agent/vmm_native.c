// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/vmm_native_int.h"
#include "common/config.h"
#include "common/log.h"
#include "proto/wire/pb.h"

#define BUDGET (1024u * 1024u)

void ls_vmm_say(struct connection *c, Message *message, const int *fds, unsigned n_fds)
{
	union {
		char buffer[CMSG_SPACE((1 + 2 * LS_MAX_DEVICES) * sizeof(int))];
		struct cmsghdr align;
	} control = { .buffer = { 0 } };
	struct iovec iov;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint8_t *bytes;

	message->id = ++c->id;
	if (ls_pb_pack(&message->base, &bytes, &iov.iov_len) < 0)
		return;
	iov.iov_base = bytes;
	if (n_fds) {
		msg.msg_control = control.buffer;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
	}
	// A packet goes out whole or not at all; a VMM that lets its queue fill up is not there.
	ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	int error = errno;
	free(bytes);
	if (n < 0)
		ls_log(LS_LOG_WARN, "vmm.deaf", "vm=%s cause=\"%s\"", c->vmm->config->name, strerror(error));
}

#define SAY(c, KIND, field, value) \
	do { \
		Message message_ = LOCKSTEP__V1__VMM_MESSAGE__INIT; \
		message_.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_##KIND; \
		message_.field = value; \
		ls_vmm_say(c, &message_, NULL, 0); \
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

void ls_vmm_greet(struct connection *c)
{
	uv_timer_stop(&c->hello);
	c->vmm->connected = true;
	c->vmm->events->hello(c->vmm->events_user, c->vmm);
}

static const char *on_hello(struct connection *c, const Lockstep__V1__VmmHello *hello)
{
	struct ls_vmm *v;

	if (c->vmm)
		return "a second Hello";
	if (!ls_name_valid(hello->vm) || !(v = ls_vmms_find(c->vmms, hello->vm)))
		return "a VM that this agent's configuration does not name";
	if (v->ops != &ls_vmm_native)
		return "this VM has another adapter";
	if (v->state)
		return "a VMM of this VM is connected already";
	c->vmm = v;
	v->state = c;
	v->incoming = hello->incoming;
	v->ram_bytes = hello->ram_bytes;
	if (hello->devices_by != LOCKSTEP__V1__VMM_DEVICES_BY__OPENED_BY_VMM)
		return ls_vmm_give(c, hello->devices_by);
	ls_vmm_greet(c);
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

	if (!v || c->gift)
		return "Hello comes first, and then the devices that it asks for";
	if (c->taking) {
		if (m->id == c->id)
			ls_vmm_taken(c, m);
		return NULL;
	}
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

const char *ls_vmm_packet(struct connection *c, const void *packet, size_t len, const int *fds, unsigned n_fds,
			  bool *fds_taken)
{
	ProtobufCMessage *base;
	const char *why;

	if (ls_pb_unpack(&lockstep__v1__vmm_message__descriptor, BUDGET, packet, len, &base) < 0)
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
