// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "coordinator/message.h"
#include "proto/rpc/address.h"

#define COORD(k, t, f, req)                                                                                            \
	{                                                                                                              \
		.section = "coordinator", .key = k, .type = t, .offset = offsetof(struct ls_coord_config, f),          \
		.size = sizeof(((struct ls_coord_config *)0)->f), .required = req                                      \
	}
#define HOST(k, f)                                                                                                     \
	{                                                                                                              \
		.section = "host", .key = k, .type = LS_CONFIG_STRING, .offset = offsetof(struct ls_host_config, f),   \
		.size = sizeof(((struct ls_host_config *)0)->f), .required = true                                      \
	}

static const struct ls_config_key keys[] = {
	COORD("id", LS_CONFIG_NAME, id, true),
	COORD("listen", LS_CONFIG_STRING, listen, true),
	COORD("store", LS_CONFIG_STRING, store, true),
	COORD("plaintext", LS_CONFIG_STRING, plaintext, false),
	HOST("agent", agent),
	HOST("stream", stream),
};

static void *object(void *user, const char *section, const char *name, int line, struct ls_error *err)
{
	struct ls_coord_config *c = user;
	struct ls_host_config *h;

	if (strcmp(section, "coordinator") == 0 && !name)
		return c;
	if (strcmp(section, "host") != 0) {
		ls_fail(err, LS_E_CONFIG, EINVAL, "the section is [coordinator], without a name");
		return NULL;
	}
	if (!name || !ls_name_valid(name)) {
		ls_fail(err, LS_E_CONFIG, EINVAL,
			"a host's section is [host NAME], NAME being 1 to 63 of [A-Za-z0-9._-]");
		return NULL;
	}
	for (unsigned i = 0; i < c->n_hosts; i++)
		if (strcmp(c->host[i].name, name) == 0) {
			ls_fail(err, LS_E_CONFIG, EEXIST, "host %s is there twice", name);
			return NULL;
		}
	if (c->n_hosts == LS_MAX_HOSTS) {
		ls_fail(err, LS_E_CONFIG, E2BIG, "more than %d hosts", LS_MAX_HOSTS);
		return NULL;
	}
	h = &c->host[c->n_hosts++];
	snprintf(h->name, sizeof(h->name), "%s", name);
	h->line = line;
	return h;
}

// Does plain text to or on this address stay on the machine? localhost does by its name, no other name does.
static int check_address(const struct ls_coord_config *c, const char *path, const char *key, const char *address,
			 struct ls_error *err)
{
	struct ls_address parsed;
	char why[400];

	if (ls_address_parse(address, &parsed, why, sizeof(why)) < 0)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "%s: %s: %.150s", path, key, why);
	if (strcmp(c->plaintext, "any") == 0 || ls_address_is_local(&parsed) ||
	    (parsed.kind == LS_ADDRESS_NAME && strcmp(parsed.host, "localhost") == 0))
		return 0;
	return ls_fail(err, LS_E_CONFIG, EPERM, "%s: %s=%.100s is not loopback: plain text there needs plaintext=any",
		       path, key, address);
}

static int check_host(const struct ls_coord_config *c, const char *path, const struct ls_host_config *h,
		      struct ls_error *err)
{
	struct ls_address parsed;
	char key[100], at[300], why[400];
	int r;

	snprintf(key, sizeof(key), "[host %s] agent", h->name);
	snprintf(at, sizeof(at), "%.280s:%d", path, h->line);
	r = check_address(c, at, key, h->agent, err);
	if (r < 0)
		return r;
	if (ls_address_parse(h->stream, &parsed, why, sizeof(why)) < 0)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "%s: [host %s] stream: %.150s", at, h->name, why);
	if (parsed.kind == LS_ADDRESS_UNIX)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "%s: [host %s] stream=%.100s: another host cannot reach it", at,
			       h->name, h->stream);
	for (const struct ls_host_config *o = c->host; o < h; o++)
		if (strcmp(o->agent, h->agent) == 0)
			return ls_fail(err, LS_E_CONFIG, EEXIST, "%s: [host %s] agent=%.100s: host %s has the same", at,
				       h->name, h->agent, o->name);
	return 0;
}

static int check_all(const struct ls_coord_config *c, const char *path, struct ls_error *err)
{
	int r;

	if (strcmp(c->plaintext, "any") != 0 && strcmp(c->plaintext, "loopback") != 0)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "%s: [coordinator] plaintext is `loopback` or `any`, not `%s`",
			       path, c->plaintext);
	r = check_address(c, path, "[coordinator] listen", c->listen, err);
	for (unsigned i = 0; r == 0 && i < c->n_hosts; i++)
		r = check_host(c, path, &c->host[i], err);
	return r;
}

int ls_coord_config_load(const char *path, struct ls_coord_config **ret, struct ls_error *err)
{
	struct ls_coord_config *c = ls_msg_alloc(sizeof(*c));
	int r;

	snprintf(c->plaintext, sizeof(c->plaintext), "loopback");
	r = ls_config_load(path, keys, sizeof(keys) / sizeof(keys[0]), object, c, err);
	if (r == 0)
		r = check_all(c, path, err);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}
