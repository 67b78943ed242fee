// SPDX-License-Identifier: Apache-2.0
// Devices that the agent opens for a VMM, and then forgets (K10): opened on a thread of the pool, since it may block,
// passed with one message, and closed here at once. A VMM that dies takes them with it.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/provider.h"
#include "agent/vmm_native_int.h"
#include "common/control.h"
#include "common/log.h"

struct gift {
	uv_work_t work;
	struct connection *connection; // NULL: it went away meanwhile
	const struct ls_provider *provider;
	enum ls_gift_way way;
	unsigned n;
	char name[LS_MAX_DEVICES][LS_NAME_MAX], path[LS_MAX_DEVICES][256];
	struct ls_gift opened;
	int status;
	struct ls_error error;
};

static void open_all(uv_work_t *work)
{
	struct gift *g = work->data;
	const char *path[LS_MAX_DEVICES];

	for (unsigned i = 0; i < g->n; i++)
		path[i] = g->path[i];
	g->status = g->provider->open_gift(path, g->n, g->way, &g->opened, &g->error);
}

static void refuse(struct connection *c, const struct ls_error *err)
{
	Lockstep__V1__VmmError why = LOCKSTEP__V1__VMM_ERROR__INIT;
	Lockstep__V1__VmmGive give = LOCKSTEP__V1__VMM_GIVE__INIT;
	Message message = LOCKSTEP__V1__VMM_MESSAGE__INIT;
	char text[512];

	ls_log_error("vmm.not-given", err, "vm=%s", c->vmm->config->name);
	why.message = (char *)ls_error_text(err, text, sizeof(text));
	why.errno_value = err->err;
	give.error = &why;
	message.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_GIVE;
	message.give = &give;
	ls_vmm_say(c, &message, NULL, 0);
	ls_vmm_hang_up(c, NULL);
}

static void hand_over(struct connection *c, struct gift *g)
{
	bool group = g->opened.way == LS_GIFT_GROUP;
	Lockstep__V1__VmmGive give = LOCKSTEP__V1__VMM_GIVE__INIT;
	Message message = LOCKSTEP__V1__VMM_MESSAGE__INIT;
	char *name[LS_MAX_DEVICES];
	int fd[1 + 2 * LS_MAX_DEVICES];
	unsigned n = 0;

	fd[n++] = g->opened.shared;
	for (unsigned i = 0; i < g->n; i++) {
		name[i] = g->name[i];
		fd[n++] = g->opened.at[i].device;
		if (group)
			fd[n++] = g->opened.at[i].group;
	}
	give.by = group ? LOCKSTEP__V1__VMM_DEVICES_BY__GIVEN_BY_GROUP : LOCKSTEP__V1__VMM_DEVICES_BY__GIVEN_BY_FILE;
	give.name = name;
	give.n_name = g->n;
	message.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_GIVE;
	message.give = &give;
	c->taking = true;
	ls_vmm_say(c, &message, fd, n);
	ls_log(LS_LOG_INFO, "vmm.given", "vm=%s devices=%u by=%s", c->vmm->config->name, g->n,
	       group ? "group" : "file");
}

static void on_opened(uv_work_t *work, int status)
{
	struct gift *g = work->data;
	struct connection *c = g->connection;

	if (c)
		c->gift = NULL;
	if (c && g->status < 0)
		refuse(c, &g->error);
	else if (c)
		hand_over(c, g);
	if (g->status == 0 && !ls_control("keep-given-fds"))
		ls_gift_close(&g->opened);
	free(g);
}

static enum ls_gift_way way_of(Lockstep__V1__VmmDevicesBy by)
{
	return by == LOCKSTEP__V1__VMM_DEVICES_BY__GIVEN_BY_GROUP ? LS_GIFT_GROUP :
	       by == LOCKSTEP__V1__VMM_DEVICES_BY__GIVEN_BY_FILE  ? LS_GIFT_FILE : LS_GIFT_ANY;
}

const char *ls_vmm_give(struct connection *c, Lockstep__V1__VmmDevicesBy by)
{
	const struct ls_agent_config *config = ls_vmms_config(c->vmms);
	struct gift *g = calloc(1, sizeof(*g));

	if (!g)
		return "out of memory";
	for (unsigned i = 0; i < config->n_devices && g->n < LS_MAX_DEVICES; i++) {
		const struct ls_device_config *d = &config->device[i];
		if (strcmp(d->vm, c->vmm->config->name) != 0)
			continue;
		g->provider = ls_provider_find(d->provider);
		if (!g->provider->open_gift)
			break;
		snprintf(g->name[g->n], sizeof(g->name[0]), "%s", d->name);
		snprintf(g->path[g->n++], sizeof(g->path[0]), "%s", d->path);
	}
	if (!g->n || !g->provider->open_gift || (int)by < 0 || by > LOCKSTEP__V1__VMM_DEVICES_BY__GIVEN_BY_FILE) {
		free(g);
		return "devices that this agent cannot open for a VMM, or a way to open them that it does not know";
	}
	g->connection = c;
	g->way = way_of(by);
	g->work.data = g;
	c->gift = g;
	uv_timer_start(&c->hello, c->hello.timer_cb, c->vmm->config->timeout_ms, 0);
	uv_queue_work(c->hello.loop, &g->work, open_all, on_opened);
	return NULL;
}

void ls_vmm_taken(struct connection *c, const Message *answer)
{
	c->taking = false;
	if (answer->kind_case == LOCKSTEP__V1__VMM_MESSAGE__KIND_OK)
		ls_vmm_greet(c);
	else
		ls_vmm_hang_up(c, answer->kind_case == LOCKSTEP__V1__VMM_MESSAGE__KIND_ERROR ? answer->error->message
											   : "ok to Give is wanted");
}

void ls_vmm_give_nobody(struct connection *c)
{
	if (c->gift)
		c->gift->connection = NULL;
	c->gift = NULL;
}
