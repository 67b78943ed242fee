// SPDX-License-Identifier: Apache-2.0
// A migration while it runs: a block that is redrawn on a terminal, plain lines elsewhere, JSON lines if asked.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/schedule.h"
#include "coordinator/ctl/ctl.h"
#include "proto/wire/pb.h"

#define RETRIES 20u
#define RETRY_MS 500u

struct following {
	struct ctl *c;
	bool any, ended;
	unsigned drawn; // lines of the block on the terminal
	int code;
	Lockstep__V1__Phase phase;
	Lockstep__V1__Gate gate;
	uint32_t source_state[LS_MAX_DEVICES], dest_state[LS_MAX_DEVICES];
};

// A name that is too long is told by its end.
static const char *short_name(const char *name, char buf[17])
{
	size_t n = strlen(name);

	snprintf(buf, 17, "%s%s", n > 16 ? "~" : "", n > 16 ? name + n - 15 : name);
	return buf;
}

static void device_line(const Lockstep__V1__DeviceProgress *d, char *line, size_t size)
{
	char sent[16], loaded[16], left[16], name[17];

	snprintf(line, size, "%-16s %-12s -> %-12s sent %s, loaded %s", short_name(d->name, name),
		 ls_state_name((int)d->source_state), ls_state_name((int)d->destination_state),
		 ctl_size(d->bytes_sent, sent), ctl_size(d->bytes_loaded, loaded));
	if (d->rounds && strlen(line) < 64)
		snprintf(line + strlen(line), size - strlen(line), ", left %s",
			 ctl_size(d->initial_left + d->dirty_left, left));
}

static void redraw(struct following *f, const Lockstep__V1__Migration *m)
{
	char line[160];

	if (f->drawn)
		printf("\033[%uA", f->drawn);
	f->drawn = 0;
	// No line may be longer than the terminal's: the next block would be drawn too low.
	snprintf(line, sizeof(line), "%s: %s%s%s", m->spec->id, ctl_phase(m->phase),
		 m->waiting_at ? ", waits at gate " : "",
		 m->waiting_at ? ls_gate_name((enum ls_gate)m->waiting_at) : "");
	printf("\033[K%.79s\n", line);
	f->drawn++;
	for (size_t i = 0; i < m->n_device; i++, f->drawn++) {
		device_line(m->device[i], line, sizeof(line));
		printf("\033[K  %.77s\n", line);
	}
	fflush(stdout);
}

static void plain(struct following *f, const Lockstep__V1__Migration *m)
{
	char line[160];

	if (!f->any || m->phase != f->phase)
		printf("%s: %s\n", m->spec->id, ctl_phase(m->phase));
	if (m->waiting_at && m->waiting_at != f->gate)
		printf("%s: waits at gate %s; lockstepctl release %s %s\n", m->spec->id,
		       ls_gate_name((enum ls_gate)m->waiting_at), m->spec->id,
		       ls_gate_name((enum ls_gate)m->waiting_at));
	for (size_t i = 0; i < m->n_device && i < LS_MAX_DEVICES; i++) {
		const Lockstep__V1__DeviceProgress *d = m->device[i];

		if (f->any && f->source_state[i] == d->source_state && f->dest_state[i] == d->destination_state)
			continue;
		f->source_state[i] = d->source_state;
		f->dest_state[i] = d->destination_state;
		device_line(d, line, sizeof(line));
		printf("  %.77s\n", line);
	}
	fflush(stdout);
}

static bool on_view(void *user, const ProtobufCMessage *message)
{
	struct following *f = user;
	const Lockstep__V1__Migration *m = (const Lockstep__V1__Migration *)message;

	if (f->c->json)
		ctl_print_json(message, true);
	else if (f->c->tty)
		redraw(f, m);
	else
		plain(f, m);
	f->any = true;
	f->phase = m->phase;
	f->gate = m->waiting_at;
	if (!ctl_ended(m))
		return false;
	if (!f->c->json)
		ctl_print_report(m);
	f->ended = true;
	f->code = ctl_exit_code(m);
	return true;
}

static void on_pause(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void pause_for(struct ctl *c, uint64_t ms)
{
	uv_timer_t timer;

	uv_timer_init(&c->loop, &timer);
	uv_timer_start(&timer, on_pause, ms, 0);
	uv_run(&c->loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&c->loop, UV_RUN_NOWAIT);
}

int ctl_follow(struct ctl *c, const char *id)
{
	Lockstep__V1__GetRequest request = LOCKSTEP__V1__GET_REQUEST__INIT;
	struct following f = {.c = c};
	enum ls_rpc_status status = LS_RPC_OK;
	struct ls_error err = {0};
	char text[160];

	request.id = (char *)(uintptr_t)id;
	for (unsigned lost = 0; lost < RETRIES; lost++) {
		ctl_stream(c, "Watch", &request.base, &lockstep__v1__migration__descriptor, on_view, &f, &status, &err);
		if (f.ended)
			return f.code;
		// A coordinator that restarts goes on with the migration, and so do we.
		if (status != LS_RPC_UNAVAILABLE && status != LS_RPC_CANCELLED && status != LS_RPC_DEADLINE_EXCEEDED)
			return ctl_print_error(c, status, &err) == CTL_USAGE && !f.any ? CTL_USAGE : CTL_OPERATOR;
		if (!f.any && lost >= 2)
			break;
		pause_for(c, RETRY_MS);
	}
	ctl_print_error(c, status, &err);
	snprintf(text, sizeof(text), "the agents go on without the coordinator; later: lockstepctl status %.80s", id);
	ctl_complain(text);
	return CTL_OPERATOR;
}
