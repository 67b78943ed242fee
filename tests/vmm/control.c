// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/vmm/net.h"

int tv_control_init(struct tv_control *c, struct tv_vm *vm, const char *path, bool use_stdin, unsigned stall_ms,
		    struct ls_error *err)
{
	memset(c, 0, sizeof(*c));
	c->vm = vm;
	c->stall_ms = stall_ms;
	c->listener = -1;
	for (unsigned i = 0; i < TV_CLIENTS; i++)
		c->client[i].in = -1;
	if (use_stdin) {
		c->client[0].in = STDIN_FILENO;
		c->client[0].out = STDOUT_FILENO;
	}
	if (!path)
		return 0;
	c->listener = tv_unix_listen(path);
	return c->listener < 0 ? ls_fail(err, LS_E_RESOURCE, -c->listener, "cannot listen on %s", path) : 0;
}

static void drop(struct tv_client *client)
{
	if (client->in > STDERR_FILENO)
		close(client->in);
	client->in = -1;
	client->wait = NULL;
	client->len = 0;
}

void tv_control_free(struct tv_control *c)
{
	for (unsigned i = 0; i < TV_CLIENTS; i++)
		drop(&c->client[i]);
	if (c->listener >= 0)
		close(c->listener);
	c->listener = -1;
}

nfds_t tv_control_poll(const struct tv_control *c, struct pollfd *fds)
{
	nfds_t n = 0;

	fds[n++] = (struct pollfd){ .fd = c->listener, .events = POLLIN };
	for (unsigned i = 0; i < TV_CLIENTS; i++)
		fds[n++] = (struct pollfd){ .fd = c->client[i].in, .events = POLLIN };
	return n;
}

static void answer(struct tv_client *client, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = write(client->out, text, len);

		if (n <= 0)
			break;
		text += n;
		len -= (size_t)n;
	}
	if (client->in != STDIN_FILENO)
		drop(client);
}

static void answer_json(struct tv_client *client, json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII), *line = NULL;

	if (text && asprintf(&line, "%s\n", text) >= 0)
		answer(client, line);
	free(line);
	free(text);
	json_decref(json);
}

static void status(struct tv_control *c, struct tv_client *client)
{
	const struct tv_vm *vm = c->vm;

	answer_json(client, json_pack("{s:s, s:s, s:I, s:i, s:I, s:I}", "vm", vm->name, "state",
				      tv_state_name(vm->state), "resumes", (json_int_t)vm->resumes, "devices",
				      (int)vm->bus.n, "ram_sent_before", (json_int_t)vm->ram.sent_before,
				      "ram_sent_after", (json_int_t)vm->ram.sent_after));
}

static void verify(struct tv_control *c, struct tv_client *client)
{
	if (c->vm->state != TV_RUNNING) {
		answer(client,
		       "{\"ok\":false,\"errors\":[\"the VM does not run here\"],\"devices\":[],\"pairs\":[]}\n");
		return;
	}
	tv_vcpu_park(&c->vm->vcpu);
	tv_verify(c->vm, c->stall_ms, &c->report);
	tv_vcpu_run(&c->vm->vcpu);
	c->verified = true;
	answer_json(client, tv_report_json(c->vm, &c->report));
}

static void reset(struct tv_control *c, struct tv_client *client, const char *name)
{
	const struct tv_device *dev = tv_bus_find(&c->vm->bus, name);
	struct ls_error err = { 0 };
	char text[512], line[540] = "ok\n";
	int r;

	if (!dev || c->vm->state != TV_RUNNING) {
		answer(client, dev ? "error: the VM does not run here\n" : "error: no such device\n");
		return;
	}
	tv_vcpu_park(&c->vm->vcpu);
	r = tv_reset_device(c->vm, (unsigned)(dev - c->vm->bus.dev), c->stall_ms, &c->report, &err);
	tv_vcpu_run(&c->vm->vcpu);
	if (r < 0)
		snprintf(line, sizeof(line), "error: %s\n", ls_error_text(&err, text, sizeof(text)));
	answer(client, line);
}

static void table(struct tv_control *c, struct tv_client *client)
{
	char *text;

	if (!c->verified) {
		answer(client, "error: nothing has been verified yet\n");
		return;
	}
	text = tv_report_table(c->vm, &c->report);
	answer(client, text ? text : "error: no memory\n");
	free(text);
}

static void wait_for(struct tv_control *c, struct tv_client *client, const char *name)
{
	static const enum tv_state states[] = { TV_INCOMING, TV_RUNNING, TV_PAUSED, TV_GONE };

	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (!strcmp(name, tv_state_name(states[i])))
			client->wait = tv_state_name(states[i]);
	if (!client->wait)
		answer(client, "error: no such state\n");
}

static void set_ram_peer(struct tv_control *c, struct tv_client *client, const char *address)
{
	int fd = tv_socket_for(address);

	if (fd < 0 || strlen(address) >= sizeof(c->vm->ram_peer)) {
		answer(client, "error: not an address\n");
		return;
	}
	close(fd);
	snprintf(c->vm->ram_peer, sizeof(c->vm->ram_peer), "%s", address);
	answer(client, "ok\n");
}

static void carry_out(struct tv_control *c, struct tv_client *client)
{
	const char *line = client->line;

	if (!strcmp(line, "status"))
		status(c, client);
	else if (!strcmp(line, "verify"))
		verify(c, client);
	else if (!strcmp(line, "table"))
		table(c, client);
	else if (!strncmp(line, "reset ", 6))
		reset(c, client, line + 6);
	else if (!strncmp(line, "wait ", 5))
		wait_for(c, client, line + 5);
	else if (!strncmp(line, "ram-peer ", 9))
		set_ram_peer(c, client, line + 9);
	else if (!strcmp(line, "quit"))
		c->quit = true;
	else
		answer(client, "error: status, verify, reset DEVICE, table, wait STATE, ram-peer ADDRESS or quit\n");
}

static void serve_client(struct tv_control *c, struct tv_client *client)
{
	ssize_t n = read(client->in, client->line + client->len, sizeof(client->line) - 1 - client->len);
	char *end;

	if (n <= 0) {
		drop(client);
		return;
	}
	client->len += (size_t)n;
	while (client->in >= 0 && (end = memchr(client->line, '\n', client->len))) {
		size_t used = (size_t)(end - client->line) + 1;

		*end = '\0';
		carry_out(c, client);
		if (client->in < 0)
			return;
		client->len -= used;
		memmove(client->line, client->line + used, client->len);
	}
	if (client->len == sizeof(client->line) - 1) {
		ls_log(LS_LOG_WARN, "vmm.control-refused", "limit=%zu", sizeof(client->line) - 1);
		drop(client);
	}
}

static void accept_client(struct tv_control *c)
{
	int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (unsigned i = 1; i < TV_CLIENTS; i++) {
		if (c->client[i].in >= 0)
			continue;
		c->client[i] = (struct tv_client){ .in = fd, .out = fd };
		return;
	}
	close(fd);
}

void tv_control_serve(struct tv_control *c, const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 1; i < n; i++)
		if (fds[i].revents && c->client[i - 1].in == fds[i].fd)
			serve_client(c, &c->client[i - 1]);
	if (fds[0].revents)
		accept_client(c);
	tv_control_state_changed(c);
}

void tv_control_state_changed(struct tv_control *c)
{
	const char *state = tv_state_name(c->vm->state);
	char text[32];

	snprintf(text, sizeof(text), "ok %s\n", state);
	for (unsigned i = 0; i < TV_CLIENTS; i++) {
		struct tv_client *client = &c->client[i];

		if (client->in < 0 || !client->wait || strcmp(client->wait, state))
			continue;
		client->wait = NULL;
		answer(client, text);
	}
}
