// SPDX-License-Identifier: Apache-2.0
// Pauses and resumes with two commands of the operator's: argv split at blanks, no shell; exit status 0
// means done. The rest of the contract is nothing to it.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/vmm.h"

#define ARGS_MAX 32

struct command {
	uv_process_t process;
	struct ls_vmm *vmm; // NULL: given up
	char text[512];
	char *argv[ARGS_MAX + 1];
};

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_exit_status(uv_process_t *process, int64_t status, int signal)
{
	struct command *c = process->data;
	struct ls_vmm *v = c->vmm;
	struct ls_error err;

	if (v) {
		v->state = NULL;
		if (status || signal)
			ls_fail(&err, LS_E_VMM_FAILED, EIO, "%.80s: ended with %s %d", c->argv[0],
				signal ? "signal" : "status", signal ? signal : (int)status);
		ls_vmm_answer(v, status || signal ? &err : NULL, NULL);
	}
	uv_close((uv_handle_t *)process, on_closed);
}

static void exec_request(struct ls_vmm *v, enum ls_vmm_op op)
{
	const char *text = op == LS_VMM_PAUSE ? v->config->pause : v->config->resume;
	uv_process_options_t options = { .exit_cb = on_exit_status };
	struct ls_error err;
	struct command *c;
	char *save = NULL;
	unsigned n = 0;

	if (op != LS_VMM_PAUSE && op != LS_VMM_RESUME) {
		ls_vmm_answer(v, NULL, NULL);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		ls_fail(&err, LS_E_RESOURCE, ENOMEM, "out of memory");
		ls_vmm_answer(v, &err, NULL);
		return;
	}
	snprintf(c->text, sizeof(c->text), "%s", text);
	for (char *word = strtok_r(c->text, " \t", &save); word && n < ARGS_MAX; word = strtok_r(NULL, " \t", &save))
		c->argv[n++] = word;
	c->vmm = v;
	c->process.data = c;
	options.file = c->argv[0];
	options.args = c->argv;
	int r = n ? uv_spawn(v->loop, &c->process, &options) : -EINVAL;
	if (r < 0) {
		ls_fail(&err, LS_E_VMM_FAILED, -r, "cannot run %.80s: %s", n ? c->argv[0] : "(nothing)",
			uv_strerror(r));
		if (n)
			uv_close((uv_handle_t *)&c->process, on_closed);
		else
			free(c);
		ls_vmm_answer(v, &err, NULL);
		return;
	}
	v->state = c;
}

static void exec_give_up(struct ls_vmm *v)
{
	struct command *c = v->state;

	if (!c)
		return;
	uv_process_kill(&c->process, SIGKILL);
	c->vmm = NULL;
	v->state = NULL;
}

const struct ls_vmm_ops ls_vmm_exec = { .name = "exec", .request = exec_request, .give_up = exec_give_up };
