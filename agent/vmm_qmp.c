// SPDX-License-Identifier: Apache-2.0
// QEMU by QMP: stop, cont, quit; what was asked for is checked with query-status. QEMU would itself walk
// vfio devices whose migration is enabled when it stops: start it with enable-migration=off on each (K10).
// One connection per request: the monitor serves one client, and an operator may want it in between.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/vmm.h"

#define REPLY_MAX 65536u

struct talk {
	uv_pipe_t pipe;
	uv_connect_t connect;
	uv_write_t write;
	struct ls_vmm *vmm; // NULL: over
	enum ls_vmm_op op;
	unsigned at;        // of script
	size_t have;
	char line[REPLY_MAX];
	char out[128];
};

static const struct {
	const char *command[4];
	const char *status; // query-status must answer this
} scripts[LS_VMM_OP_COUNT] = {
	[LS_VMM_PAUSE] = { { "qmp_capabilities", "stop", "query-status" }, "paused" },
	[LS_VMM_RESUME] = { { "qmp_capabilities", "cont", "query-status" }, "running" },
	[LS_VMM_GONE] = { { "qmp_capabilities", "quit" }, NULL },
	[LS_VMM_DISCARD] = { { "qmp_capabilities", "quit" }, NULL },
};

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void over(struct talk *t, int errno_value, const char *what, const char *detail)
{
	struct ls_vmm *v = t->vmm;
	struct ls_error err;

	if (!v)
		return;
	t->vmm = NULL;
	v->state = NULL;
	uv_close((uv_handle_t *)&t->pipe, on_closed);
	if (what)
		ls_fail(&err, LS_E_VMM_FAILED, errno_value, "QMP of %s: %s%s%.80s", v->config->name, what,
			detail ? ": " : "", detail ? detail : "");
	ls_vmm_answer(v, what ? &err : NULL, NULL);
}

static void on_written(uv_write_t *request, int status)
{
	struct talk *t = request->data;

	if (status < 0 && t->vmm)
		over(t, -status, "cannot write", NULL);
}

static void say_next(struct talk *t)
{
	const char *command = scripts[t->op].command[t->at];

	if (!command) {
		over(t, 0, NULL, NULL);
		return;
	}
	uv_buf_t buf =
		uv_buf_init(t->out, (unsigned)snprintf(t->out, sizeof(t->out), "{\"execute\":\"%s\"}\n", command));
	t->write.data = t;
	int r = uv_write(&t->write, (uv_stream_t *)&t->pipe, &buf, 1, on_written);
	if (r < 0)
		over(t, -r, "cannot write", NULL);
}

static void on_reply(struct talk *t, json_t *reply)
{
	json_t *error = json_object_get(reply, "error"), *result = json_object_get(reply, "return");
	const char *status = json_string_value(json_object_get(result, "status"));
	const char *command = scripts[t->op].command[t->at];

	if (json_object_get(reply, "QMP")) {
		say_next(t);
	} else if (error) {
		const char *text = json_string_value(json_object_get(error, "desc"));
		over(t, EIO, command, text ? text : "error");
	} else if (result) {
		if (strcmp(command, "query-status") == 0 && (!status || strcmp(status, scripts[t->op].status) != 0)) {
			over(t, EIO, "the VM's status is", status ? status : "not known");
			return;
		}
		t->at++;
		say_next(t);
	} // else an event
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct talk *t = handle->data;

	*buf = uv_buf_init(t->line + t->have, (unsigned)(sizeof(t->line) - t->have));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct talk *t = stream->data;
	char *end;

	if (!t->vmm || n == 0)
		return;
	if (n < 0) {
		bool quit = t->op == LS_VMM_GONE || t->op == LS_VMM_DISCARD;
		if (quit && t->at >= 1) // it is gone, as asked
			over(t, 0, NULL, NULL);
		else
			over(t, n == UV_EOF ? EPIPE : n == UV_ENOBUFS ? EMSGSIZE : (int)-n, "connection lost", NULL);
		return;
	}
	t->have += (size_t)n;
	while (t->vmm && (end = memchr(t->line, '\n', t->have))) {
		size_t len = (size_t)(end - t->line) + 1;
		json_t *reply = json_loadb(t->line, len, 0, NULL);
		memmove(t->line, t->line + len, t->have - len);
		t->have -= len;
		if (!json_is_object(reply))
			over(t, EPROTO, "not JSON", NULL);
		else
			on_reply(t, reply);
		json_decref(reply);
	}
}

static void on_connect(uv_connect_t *request, int status)
{
	struct talk *t = request->data;

	if (!t->vmm)
		return;
	if (status < 0)
		over(t, -status, "cannot connect", uv_strerror(status));
	else
		uv_read_start((uv_stream_t *)&t->pipe, on_alloc, on_read);
}

static void qmp_request(struct ls_vmm *v, enum ls_vmm_op op)
{
	struct talk *t;

	if (!scripts[op].command[0]) {
		ls_vmm_answer(v, NULL, NULL);
		return;
	}
	t = calloc(1, sizeof(*t));
	if (!t) {
		struct ls_error err;
		ls_fail(&err, LS_E_RESOURCE, ENOMEM, "out of memory");
		ls_vmm_answer(v, &err, NULL);
		return;
	}
	t->vmm = v;
	t->op = op;
	v->state = t;
	uv_pipe_init(v->loop, &t->pipe, 0);
	t->pipe.data = t->connect.data = t;
	uv_pipe_connect(&t->connect, &t->pipe, v->config->qmp, on_connect);
}

static void qmp_give_up(struct ls_vmm *v)
{
	struct talk *t = v->state;

	if (!t)
		return;
	t->vmm = NULL;
	v->state = NULL;
	uv_close((uv_handle_t *)&t->pipe, on_closed);
}

const struct ls_vmm_ops ls_vmm_qmp = { .name = "qmp", .request = qmp_request, .give_up = qmp_give_up };
