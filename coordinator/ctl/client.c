// SPDX-License-Identifier: Apache-2.0
// Calls that block: the loop runs until the answer is there.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

// A stream may last as long as a migration; it is renewed after a day.
#define STREAM_MS (24ull * 3600 * 1000)

struct waiting {
	struct ctl *c;
	const ProtobufCMessageDescriptor *type;
	ProtobufCMessage *reply;
	enum ls_rpc_status status;
	struct ls_error error;
	ctl_message_fn *fn;
	void *user;
	struct ls_rpc_request *request;
	bool enough, ended;
	bool unsure; // it was sent, and nobody said what became of it
};

static enum ls_reason reason_of(enum ls_rpc_status status)
{
	return status == LS_RPC_INVALID_ARGUMENT				    ? LS_E_INVALID
	       : status == LS_RPC_NOT_FOUND					    ? LS_E_NOT_FOUND
	       : status == LS_RPC_UNAVAILABLE || status == LS_RPC_DEADLINE_EXCEEDED ? LS_E_UNAVAILABLE
										    : LS_E_INTERNAL;
}

static void read_error(struct waiting *w, const struct ls_rpc_result *r)
{
	ProtobufCMessage *m = NULL;
	const Lockstep__V1__ErrorDetail *d;

	const char *what = r->message[0] ? r->message : ls_rpc_status_name(r->status);

	// What names the address says all of it.
	if (strstr(what, w->c->server))
		ls_fail(&w->error, reason_of(r->status), 0, "coordinator: %s", what);
	else
		ls_fail(&w->error, reason_of(r->status), 0, "coordinator at %s: %s", w->c->server, what);
	w->unsure = r->sent && (r->status == LS_RPC_UNAVAILABLE || r->status == LS_RPC_DEADLINE_EXCEEDED ||
				r->status == LS_RPC_CANCELLED || r->status == LS_RPC_INTERNAL ||
				r->status == LS_RPC_UNKNOWN);
	if (!r->trailer || strcmp(r->trailer, "lockstep-error-bin") != 0 ||
	    ls_pb_unpack(&lockstep__v1__error_detail__descriptor, 64 << 10, r->trailer_bytes, r->trailer_len, &m) < 0)
		return;
	d = (const Lockstep__V1__ErrorDetail *)m;
	w->unsure = false;
	ls_fail(&w->error, ls_reason_parse(d->reason), d->errno_value, "%s", d->message);
	w->error.err = d->errno_value;
	ls_error_at(&w->error, d->device[0] ? d->device : NULL, d->arc[0] ? d->arc : NULL);
	snprintf(w->error.host, sizeof(w->error.host), "%s", d->host);
	ls_pb_free(m);
}

static void ended(struct waiting *w, const struct ls_rpc_result *r)
{
	w->status = r->status;
	w->request = NULL;
	w->ended = true;
	if (r->status != LS_RPC_OK)
		read_error(w, r);
	uv_stop(&w->c->loop);
}

static ProtobufCMessage *decode(struct waiting *w, const void *bytes, size_t len)
{
	ProtobufCMessage *m = NULL;

	if (ls_pb_unpack(w->type, LS_RPC_PB_BUDGET, bytes, len, &m) < 0) {
		w->status = LS_RPC_INTERNAL;
		w->unsure = true;
		ls_fail(&w->error, LS_E_INVALID, EBADMSG, "coordinator at %s: malformed answer", w->c->server);
	}
	return m;
}

static void on_reply(void *user, const struct ls_rpc_result *r, const void *bytes, size_t len)
{
	struct waiting *w = user;

	ended(w, r);
	if (r->status == LS_RPC_OK)
		w->reply = decode(w, bytes, len);
}

static void on_message(void *user, const void *bytes, size_t len)
{
	struct waiting *w = user;
	ProtobufCMessage *m = w->enough ? NULL : decode(w, bytes, len);

	if (m && w->fn(w->user, m))
		w->enough = true;
	ls_pb_free(m);
	if (w->enough && w->request)
		ls_rpc_cancel(w->request);
}

static void on_end(void *user, const struct ls_rpc_result *r)
{
	ended(user, r);
}

static bool connect_to(struct ctl *c, struct ls_error *err)
{
	char why[200];

	if (c->channel)
		return true;
	if (ls_rpc_channel_create(&c->loop, c->server, NULL, &c->channel, why, sizeof(why)) == 0)
		return true;
	ls_fail(err, LS_E_INVALID, EINVAL, "--server: %s", why);
	return false;
}

int ctl_print_error(const struct ctl *c, enum ls_rpc_status status, const struct ls_error *err)
{
	Lockstep__V1__ErrorDetail d = LOCKSTEP__V1__ERROR_DETAIL__INIT;
	char text[640];

	if (c->json) {
		d.reason = (char *)(uintptr_t)ls_reason_name(err->reason);
		d.message = (char *)(uintptr_t)err->message;
		d.host = (char *)(uintptr_t)err->host;
		d.device = (char *)(uintptr_t)err->device;
		d.arc = (char *)(uintptr_t)err->arc;
		d.errno_value = err->err;
		ctl_print_json(&d.base, true);
	}
	ctl_complain(ls_error_text(err, text, sizeof(text)));
	switch (status) {
	case LS_RPC_INVALID_ARGUMENT:
	case LS_RPC_NOT_FOUND:
	case LS_RPC_ALREADY_EXISTS:
		return CTL_USAGE;
	default:
		return CTL_FAILED;
	}
}

int ctl_call(struct ctl *c, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
	     ProtobufCMessage **ret)
{
	struct waiting w = {.c = c, .type = type};
	char path[64];

	c->unsure = false;
	snprintf(path, sizeof(path), "/lockstep.v1.Lockstep/%s", method);
	if (!connect_to(c, &w.error))
		return ctl_print_error(c, LS_RPC_INVALID_ARGUMENT, &w.error);
	if (ls_rpc_unary_message(c->channel, path, request, c->timeout_ms, on_reply, &w, NULL) < 0)
		abort();
	while (!w.ended)
		uv_run(&c->loop, UV_RUN_DEFAULT);
	c->unsure = w.unsure;
	if (!w.reply)
		return ctl_print_error(c, w.status, &w.error);
	*ret = w.reply;
	return 0;
}

void ctl_stream(struct ctl *c, const char *method, const ProtobufCMessage *request,
		const ProtobufCMessageDescriptor *type, ctl_message_fn *fn, void *user, enum ls_rpc_status *ret_status,
		struct ls_error *err)
{
	struct waiting w = {.c = c, .type = type, .fn = fn, .user = user};
	char path[64];

	snprintf(path, sizeof(path), "/lockstep.v1.Lockstep/%s", method);
	if (!connect_to(c, err)) {
		*ret_status = LS_RPC_INVALID_ARGUMENT;
		return;
	}
	if (ls_rpc_stream_message(c->channel, path, request, STREAM_MS, on_message, on_end, &w, &w.request) < 0)
		abort();
	while (!w.ended)
		uv_run(&c->loop, UV_RUN_DEFAULT);
	*ret_status = w.enough ? LS_RPC_OK : w.status;
	*err = w.error;
}
