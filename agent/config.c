// SPDX-License-Identifier: Apache-2.0
#include "agent/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/provider.h"
#include "common/config.h"
#include "proto/rpc/address.h"

#define MAX_ENTRIES 4096
#define AGENT(key, type, field, min, max, required) \
	{ "agent", key, type, offsetof(struct ls_agent_config, field), sizeof(((struct ls_agent_config *)0)->field), \
	  min, max, required }
#define DEVICE(key, type, field, required) \
	{ "device", key, type, offsetof(struct ls_device_config, field), \
	  sizeof(((struct ls_device_config *)0)->field), 0, 0, required }
#define VM(key, type, field, min, max, required) \
	{ "vm", key, type, offsetof(struct ls_vm_config, field), sizeof(((struct ls_vm_config *)0)->field), min, max, \
	  required }

static const struct ls_config_key keys[] = {
	AGENT("host", LS_CONFIG_NAME, host, 0, 0, true),
	AGENT("listen", LS_CONFIG_STRING, listen, 0, 0, true),
	AGENT("stream", LS_CONFIG_STRING, stream, 0, 0, true),
	AGENT("vmm", LS_CONFIG_STRING, vmm, 0, 0, true),
	AGENT("ledger", LS_CONFIG_STRING, ledger, 0, 0, true),
	AGENT("plaintext", LS_CONFIG_STRING, plaintext, 0, 0, false),
	AGENT("arc_timeout_ms", LS_CONFIG_UINT, arc_timeout_ms, 100, 3600000, false),
	AGENT("keep_ended", LS_CONFIG_UINT, keep_ended, 1, 1000000, false),
	DEVICE("vm", LS_CONFIG_NAME, vm, true),
	DEVICE("provider", LS_CONFIG_NAME, provider, true),
	DEVICE("path", LS_CONFIG_STRING, path, true),
	DEVICE("slot", LS_CONFIG_NAME, slot, true),
	VM("adapter", LS_CONFIG_NAME, adapter, 0, 0, true),
	VM("qmp", LS_CONFIG_STRING, qmp, 0, 0, false),
	VM("pause", LS_CONFIG_STRING, pause, 0, 0, false),
	VM("resume", LS_CONFIG_STRING, resume, 0, 0, false),
	VM("timeout_ms", LS_CONFIG_UINT, timeout_ms, 100, 3600000, false),
};

#define REFUSE(c, at, fmt, ...) ls_fail(err, LS_E_CONFIG, EINVAL, "%s:%d: " fmt, (c)->file, at, __VA_ARGS__)

static void *refuse(const char *why, struct ls_error *err)
{
	ls_fail(err, LS_E_CONFIG, EINVAL, "%s", why);
	return NULL;
}

static struct ls_vm_config *add_vm(struct ls_agent_config *c, const char *name, int line)
{
	struct ls_vm_config *vm = &c->vm[c->n_vms++];

	snprintf(vm->name, sizeof(vm->name), "%s", name);
	snprintf(vm->adapter, sizeof(vm->adapter), "native");
	vm->timeout_ms = 30000;
	vm->line = line;
	return vm;
}

static void *object(void *user, const char *section, const char *name, int line, struct ls_error *err)
{
	struct ls_agent_config *c = user;

	if (strcmp(section, "agent") == 0 && !name && !c->line) {
		c->line = line;
		return c;
	}
	if (strcmp(section, "agent") == 0 || !name)
		return refuse(name ? "it has no name" : "a name is missing", err);
	if (c->n_devices == MAX_ENTRIES || c->n_vms == MAX_ENTRIES)
		return refuse("there are too many", err);
	if (strcmp(section, "device") == 0 && !ls_agent_config_device(c, name)) {
		struct ls_device_config *d = &c->device[c->n_devices++];
		snprintf(d->name, sizeof(d->name), "%s", name);
		d->line = line;
		return d;
	}
	if (strcmp(section, "vm") == 0 && !ls_agent_config_vm(c, name))
		return add_vm(c, name, line);
	return refuse("it is there twice", err);
}

static int check_address(struct ls_agent_config *c, const char *key, const char *text, struct ls_error *err)
{
	struct ls_address address;
	char why[400];

	if (ls_address_parse(text, &address, why, sizeof(why)) < 0)
		return REFUSE(c, c->line, "%s: %.150s", key, why);
	if (strcmp(c->plaintext, "any") != 0 && !ls_address_is_local(&address))
		return REFUSE(c, c->line,
			      "%s=%.60s is not loopback: connections are plain text, and only plaintext=any, "
			      "for a test network, allows that",
			      key, text);
	if (strcmp(key, "stream") == 0 && address.kind != LS_ADDRESS_IP)
		return REFUSE(c, c->line, "%s=%.60s: wants IP:port", key, text);
	return 0;
}

static int check_vm(struct ls_agent_config *c, const struct ls_vm_config *vm, struct ls_error *err)
{
	bool qmp = strcmp(vm->adapter, "qmp") == 0, exec = strcmp(vm->adapter, "exec") == 0;

	if (!qmp && !exec && strcmp(vm->adapter, "native") != 0 && strcmp(vm->adapter, "none") != 0)
		return REFUSE(c, vm->line, "[vm %s] adapter=%s: one of native, qmp, exec, none", vm->name, vm->adapter);
	if (qmp != (vm->qmp[0] != 0))
		return REFUSE(c, vm->line, "[vm %s]: qmp= belongs to adapter=qmp, and only there", vm->name);
	if (exec != (vm->pause[0] != 0) || exec != (vm->resume[0] != 0))
		return REFUSE(c, vm->line, "[vm %s]: pause= and resume= belong to adapter=exec, and only there",
			      vm->name);
	for (unsigned i = 0; i < c->n_devices; i++)
		if (strcmp(c->device[i].vm, vm->name) == 0)
			return 0;
	return REFUSE(c, vm->line, "[vm %s]: no device belongs to this VM", vm->name);
}

static int check(struct ls_agent_config *c, struct ls_error *err)
{
	int r;

	if (!c->line)
		return REFUSE(c, 1, "%s", "there is no section [agent]");
	if (strcmp(c->plaintext, "any") != 0 && strcmp(c->plaintext, "loopback") != 0)
		return REFUSE(c, c->line, "plaintext=%s: loopback or any", c->plaintext);
	r = check_address(c, "listen", c->listen, err);
	if (r == 0)
		r = check_address(c, "stream", c->stream, err);
	for (unsigned i = 0; r == 0 && i < c->n_devices; i++) {
		const struct ls_device_config *d = &c->device[i];
		if (!ls_provider_find(d->provider))
			return REFUSE(c, d->line, "[device %s] provider=%s: one of vfio, sim", d->name, d->provider);
		for (unsigned j = 0; j < i; j++)
			if (strcmp(c->device[j].vm, d->vm) == 0 && strcmp(c->device[j].slot, d->slot) == 0)
				return REFUSE(c, d->line, "[device %s] slot=%s: device %s of VM %s is there", d->name,
					      d->slot, c->device[j].name, d->vm);
			else if (strcmp(c->device[j].path, d->path) == 0)
				return REFUSE(c, d->line, "[device %s]: device %s has the same path", d->name,
					      c->device[j].name);
		if (!ls_agent_config_vm(c, d->vm))
			add_vm(c, d->vm, 0);
	}
	for (unsigned i = 0; r == 0 && i < c->n_vms; i++)
		r = check_vm(c, &c->vm[i], err);
	return r;
}

int ls_agent_config_load(const char *path, struct ls_agent_config **ret, struct ls_error *err)
{
	struct ls_agent_config *c = calloc(1, sizeof(*c));
	int r;

	if (c) {
		c->device = calloc(MAX_ENTRIES, sizeof(*c->device));
		c->vm = calloc(2 * MAX_ENTRIES, sizeof(*c->vm));
	}
	if (!c || !c->device || !c->vm) {
		ls_agent_config_free(c);
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
	}
	snprintf(c->file, sizeof(c->file), "%s", path);
	snprintf(c->plaintext, sizeof(c->plaintext), "loopback");
	c->arc_timeout_ms = 60000;
	c->keep_ended = 1000;
	r = ls_config_load(path, keys, sizeof(keys) / sizeof(keys[0]), object, c, err);
	if (r == 0)
		r = check(c, err);
	if (r < 0) {
		ls_agent_config_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void ls_agent_config_free(struct ls_agent_config *c)
{
	if (!c)
		return;
	free(c->device);
	free(c->vm);
	free(c);
}

const struct ls_device_config *ls_agent_config_device(const struct ls_agent_config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_devices; i++)
		if (strcmp(c->device[i].name, name) == 0)
			return &c->device[i];
	return NULL;
}

const struct ls_vm_config *ls_agent_config_vm(const struct ls_agent_config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_vms; i++)
		if (strcmp(c->vm[i].name, name) == 0)
			return &c->vm[i];
	return NULL;
}
