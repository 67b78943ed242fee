// SPDX-License-Identifier: Apache-2.0
#include "common/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTION_MAX 50 // inih keeps no more of a section's name

struct loader {
	FILE *file;
	const char *path;
	const struct ls_config_key *keys;
	unsigned n_keys;
	ls_config_object_fn *object_of;
	void *user;
	struct ls_error *err;
	int ret;  // first failure
	int line;
	char section[SECTION_MAX]; // as written, "device nic0"
	unsigned kind_len;         // of "device" in it
	int section_line;
	void *object;              // NULL before the first section
	uint64_t given;            // keys of this section so far
	uint64_t plain_seen;       // plain sections so far, by the index of their first key
};

#define REFUSE(l, at, fmt, ...) \
	((l)->ret = ls_fail((l)->err, LS_E_CONFIG, EINVAL, "%s:%d: " fmt, (l)->path, (at), __VA_ARGS__))

bool ls_name_valid(const char *name)
{
	size_t n;

	if (!name)
		return false;
	n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
	return n >= 1 && n <= 63 && name[n] == 0;
}

static bool in_section(const struct loader *l, const struct ls_config_key *key)
{
	return strlen(key->section) == l->kind_len && strncmp(key->section, l->section, l->kind_len) == 0;
}

static int end_section(struct loader *l)
{
	for (unsigned i = 0; l->object && i < l->n_keys; i++)
		if (l->keys[i].required && in_section(l, &l->keys[i]) && !(l->given >> i & 1))
			return REFUSE(l, l->section_line, "[%s] lacks '%s'", l->section, l->keys[i].key);
	return 0;
}

static int begin_section(struct loader *l, const char *text, size_t len)
{
	const char *name = NULL;
	unsigned first = 0;

	if (len == 0 || len >= sizeof(l->section))
		return REFUSE(l, l->line, "a section's name has 1 to %d characters", SECTION_MAX - 1);
	memcpy(l->section, text, len);
	l->section[len] = 0;
	l->section_line = l->line;
	l->given = 0;
	l->kind_len = strcspn(l->section, " \t");
	if (l->section[l->kind_len]) {
		name = l->section + l->kind_len;
		name += strspn(name, " \t");
		if (!ls_name_valid(name))
			return REFUSE(l, l->line, "[%s]: a name has 1 to 63 of A-Z a-z 0-9 . _ -", l->section);
	}
	while (first < l->n_keys && !in_section(l, &l->keys[first]))
		first++;
	if (first == l->n_keys)
		return REFUSE(l, l->line, "[%s]: no such section", l->section);
	if (!name && l->plain_seen >> first & 1)
		return REFUSE(l, l->line, "[%s] is there twice", l->section);
	if (!name)
		l->plain_seen |= UINT64_C(1) << first;

	struct ls_error why = { .reason = LS_E_NONE };
	l->object = l->object_of(l->user, name ? strndupa(l->section, l->kind_len) : l->section, name, l->line, &why);
	if (!l->object)
		return REFUSE(l, l->line, "[%s]: %s", l->section, why.message[0] ? why.message : "not accepted here");
	return 0;
}

static int parse_uint(const char *text, uint64_t *ret)
{
	unsigned shift = 0;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno)
		return -EINVAL;
	if (*end == 'K')
		shift = 10;
	else if (*end == 'M')
		shift = 20;
	else if (*end == 'G')
		shift = 30;
	if (end[shift ? 1 : 0] || (shift && value > UINT64_MAX >> shift))
		return -EINVAL;
	*ret = (uint64_t)value << shift;
	return 0;
}

static int parse_bool(const char *text, bool *ret)
{
	if (strcmp(text, "yes") == 0 || strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
		*ret = true;
	else if (strcmp(text, "no") == 0 || strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
		*ret = false;
	else
		return -EINVAL;
	return 0;
}

static int store(struct loader *l, const struct ls_config_key *key, const char *value)
{
	void *field = (char *)l->object + key->offset;
	uint64_t number;

	switch (key->type) {
	case LS_CONFIG_NAME:
		if (!ls_name_valid(value))
			return REFUSE(l, l->line, "[%s] %s: '%s' is no name: 1 to 63 of A-Z a-z 0-9 . _ -", l->section,
				      key->key, value);
		// fall through
	case LS_CONFIG_STRING:
		if (strlen(value) >= key->size)
			return REFUSE(l, l->line, "[%s] %s: longer than %lu characters", l->section, key->key,
				      key->size - 1);
		memcpy(field, value, strlen(value) + 1);
		return 0;
	case LS_CONFIG_UINT:
		if (parse_uint(value, &number) < 0)
			return REFUSE(l, l->line, "[%s] %s: '%s' is no number (decimal, K, M or G may follow)",
				      l->section, key->key, value);
		if (number < key->min || number > key->max)
			return REFUSE(l, l->line, "[%s] %s: %s is not within %llu to %llu", l->section, key->key, value,
				      key->min, key->max);
		memcpy(field, &number, sizeof(number));
		return 0;
	case LS_CONFIG_BOOL:
		if (parse_bool(value, field) < 0)
			return REFUSE(l, l->line, "[%s] %s: '%s' is neither yes nor no", l->section, key->key, value);
		return 0;
	}
	return REFUSE(l, l->line, "[%s] %s: type %d", l->section, key->key, (int)key->type);
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct loader *l = user;

	if (l->ret < 0)
		return 0;
	if (!l->object) {
		REFUSE(l, l->line, "'%s' stands before the first section", name);
		return 0;
	}
	for (unsigned i = 0; i < l->n_keys; i++) {
		if (!in_section(l, &l->keys[i]) || strcmp(l->keys[i].key, name) != 0)
			continue;
		if (l->given >> i & 1)
			return REFUSE(l, l->line, "[%s] %s is given twice", l->section, name), 0;
		l->given |= UINT64_C(1) << i;
		return store(l, &l->keys[i], value) == 0;
	}
	REFUSE(l, l->line, "[%s] has no key '%s'", l->section, name);
	return 0;
}

// inih tells neither line numbers nor section headers: they are found here, on the way in.
static char *read_line(char *buf, int size, void *user)
{
	struct loader *l = user;
	size_t len, blanks;

	if (l->ret < 0 || !fgets(buf, size, l->file))
		return NULL;
	l->line++;
	len = strlen(buf);
	if ((len == 0 || buf[len - 1] != '\n') && !feof(l->file)) {
		REFUSE(l, l->line, "longer than %d characters, or a NUL byte", size - 3);
		return NULL;
	}
	// Without its indentation inih cannot take a line for the continuation of the one before.
	blanks = strspn(buf, " \t");
	memmove(buf, buf + blanks, len - blanks + 1);
	if (buf[0] == '[') {
		char *end = strchr(buf, ']');

		if (!end)
			REFUSE(l, l->line, "%s", "']' is missing");
		else if (end_section(l) < 0 || begin_section(l, buf + 1, (size_t)(end - buf - 1)) < 0)
			return NULL;
	}
	return l->ret < 0 ? NULL : buf;
}

int ls_config_load(const char *path, const struct ls_config_key *keys, unsigned n_keys, ls_config_object_fn *object,
		   void *user, struct ls_error *err)
{
	struct loader l = {
		.path = path, .keys = keys, .n_keys = n_keys, .object_of = object, .user = user, .err = err,
	};
	int bad_line;

	if (n_keys > LS_CONFIG_KEYS_MAX)
		return ls_fail(err, LS_E_INTERNAL, EINVAL, "%u keys in a config table", n_keys);
	l.file = fopen(path, "re");
	if (!l.file)
		return ls_fail(err, LS_E_CONFIG, errno, "%s: cannot be opened", path);
	bad_line = ini_parse_stream(read_line, &l, on_key, &l);
	if (l.ret == 0 && ferror(l.file))
		l.ret = ls_fail(err, LS_E_CONFIG, EIO, "%s: cannot be read", path);
	if (l.ret == 0 && bad_line > 0)
		REFUSE(&l, bad_line, "%s", "neither [section], key = value nor a comment");
	if (l.ret == 0 && bad_line < 0)
		l.ret = ls_fail(err, LS_E_RESOURCE, ENOMEM, "%s: no memory", path);
	if (l.ret == 0)
		end_section(&l);
	fclose(l.file);
	return l.ret;
}
