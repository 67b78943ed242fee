// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/config.h"

struct section {
	char name[64], path[16];
	uint64_t limit;
	bool fast;
};
struct settings {
	struct section agent, device[2];
	unsigned n_devices;
};

static const struct ls_config_key keys[] = {
	{ "agent", "name", LS_CONFIG_NAME, offsetof(struct section, name), 64, .required = true },
	{ "agent", "limit", LS_CONFIG_UINT, offsetof(struct section, limit), .min = 10, .max = 1 << 30 },
	{ "agent", "fast", LS_CONFIG_BOOL, offsetof(struct section, fast), .size = 0 },
	{ "device", "path", LS_CONFIG_STRING, offsetof(struct section, path), 16, .required = true },
};

static void *object(void *user, const char *section, const char *name, int line, struct ls_error *err)
{
	struct settings *s = user;

	if (strcmp(section, "agent") == 0 && !name)
		return &s->agent;
	if (strcmp(section, "device") != 0 || !name)
		return NULL;
	if (s->n_devices == 2) {
		ls_fail(err, LS_E_LIMIT, E2BIG, "at most 2 devices");
		return NULL;
	}
	snprintf(s->device[s->n_devices].name, 64, "%s", name);
	return &s->device[s->n_devices++];
}

static struct settings got;
static struct ls_error err;

static int load_bytes(const char *text, size_t len)
{
	char path[] = "/tmp/lockstep-config-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
	memset(&got, 0, sizeof(got));
	err = (struct ls_error){ .reason = LS_E_NONE };
	r = ls_config_load(path, keys, sizeof(keys) / sizeof(keys[0]), object, &got, &err);
	// "PATH:LINE: ..." becomes "LINE: ..."
	if (r < 0) {
		assert_int_equal(err.reason, LS_E_CONFIG);
		assert_memory_equal(err.message, path, strlen(path));
		memmove(err.message, err.message + strlen(path) + 1, strlen(err.message) - strlen(path));
	}
	unlink(path);
	return r;
}

static int load(const char *text)
{
	return load_bytes(text, strlen(text));
}

static void good_files(void **state)
{
	assert_int_equal(load("# comment\n; too\n\n[agent]\nname = host-a.x\n  limit = 4K ; bytes\nfast: yes\n"
			      "[device nic0]\npath=/dev/x y#z\n\n[device  nic1]\r\n\tpath=b"), 0);
	assert_string_equal(got.agent.name, "host-a.x");
	assert_int_equal(got.agent.limit, 4096);
	assert_true(got.agent.fast);
	assert_int_equal(got.n_devices, 2);
	assert_string_equal(got.device[0].path, "/dev/x y#z");
	assert_string_equal(got.device[1].name, "nic1");
	assert_string_equal(got.device[1].path, "b");
	assert_int_equal(load(""), 0);
	assert_int_equal(load("[agent]\nname=a\nlimit=1G"), 0);
	assert_int_equal(got.agent.limit, 1 << 30);
}

static void bad_files_get_one_line_each(void **state)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{ "[agent]\nname=a\ncolour=red\n", "3: [agent] has no key 'colour'" },
		{ "[agent]\nname=a\npath=x\n", "3: [agent] has no key 'path'" },
		{ "[agent]\nname=a\n\n[vehicle]\n", "4: [vehicle]: no such section" },
		{ "name=a\n", "1: 'name' stands before the first section" },
		{ "[agent]\nlimit=20\n[device a]\npath=x", "1: [agent] lacks 'name'" },
		{ "[device a]\n", "1: [device a] lacks 'path'" },
		{ "[device a b]\n", "1: [device a b]: a name has 1 to 63 of A-Z a-z 0-9 . _ -" },
		{ "[device]\npath=x\n", "1: [device]: not accepted here" },
		{ "[device a]\npath=x\n[device b]\npath=x\n[device c]\n", "5: [device c]: at most 2 devices" },
		{ "[agent]\nname=a\n[agent]\nname=b\n", "3: [agent] is there twice" },
		{ "[agent]\nname=a\nname=b\n", "3: [agent] name is given twice" },
		{ "[agent]\nname=a\n  name=b\n", "3: [agent] name is given twice" },
		{ "[agent]\nname=a b\n", "2: [agent] name: 'a b' is no name: 1 to 63 of A-Z a-z 0-9 . _ -" },
		{ "[agent]\nname=\n", "2: [agent] name: '' is no name: 1 to 63 of A-Z a-z 0-9 . _ -" },
		{ "[agent]\nname=a\nlimit=9\n", "3: [agent] limit: 9 is not within 10 to 1073741824" },
		{ "[agent]\nname=a\nlimit=2G\n", "3: [agent] limit: 2G is not within 10 to 1073741824" },
		{ "[agent]\nname=a\nlimit=-20\n",
		  "3: [agent] limit: '-20' is no number (decimal, K, M or G may follow)" },
		{ "[agent]\nname=a\nlimit=10KK\n",
		  "3: [agent] limit: '10KK' is no number (decimal, K, M or G may follow)" },
		{ "[agent]\nname=a\nlimit=99999999999999999999\n",
		  "3: [agent] limit: '99999999999999999999' is no number (decimal, K, M or G may follow)" },
		{ "[agent]\nname=a\nlimit=99999999999999999G\n",
		  "3: [agent] limit: '99999999999999999G' is no number (decimal, K, M or G may follow)" },
		{ "[agent]\nname=a\nfast=maybe\n", "3: [agent] fast: 'maybe' is neither yes nor no" },
		{ "[device a]\npath=0123456789abcdef\n", "2: [device a] path: longer than 15 characters" },
		{ "[agent]\nname\n", "2: neither [section], key = value nor a comment" },
		{ "[agent\nname=a\n", "1: ']' is missing" },
		{ "[]\n", "1: a section's name has 1 to 49 characters" },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(load(bad[i].text), -EINVAL);
		assert_string_equal(err.message, bad[i].message);
	}
}

static void overlong_lines_and_nul_bytes_are_refused(void **state)
{
	char text[600] = "[agent]\nname=a\n";
	size_t head = strlen(text);

	memset(text + head, 'x', 500);
	assert_int_equal(load(text), -EINVAL);
	assert_memory_equal(err.message, "3: ", 3);
	assert_int_equal(load_bytes("[agent]\nname=\0a\n", 16), -EINVAL);
	assert_memory_equal(err.message, "2: ", 3);
}

static void a_file_that_is_not_there(void **state)
{
	assert_int_equal(ls_config_load("/nonexistent/x", keys, 4, object, &got, &err), -ENOENT);
	assert_string_equal(err.message, "/nonexistent/x: cannot be opened");
	assert_int_equal(ls_config_load("/", keys, 4, object, &got, &err), -EIO);
}

static void what_a_name_is(void **state)
{
	char longest[65];

	memset(longest, 'a', 64);
	longest[64] = 0;
	assert_false(ls_name_valid(longest));
	longest[63] = 0;
	assert_true(ls_name_valid(longest));
	assert_true(ls_name_valid("A-z0.9_"));
	assert_false(ls_name_valid(""));
	assert_false(ls_name_valid(NULL));
	assert_false(ls_name_valid("a/b"));
	assert_false(ls_name_valid("a\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files),
		cmocka_unit_test(bad_files_get_one_line_each),
		cmocka_unit_test(overlong_lines_and_nul_bytes_are_refused),
		cmocka_unit_test(a_file_that_is_not_there),
		cmocka_unit_test(what_a_name_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
