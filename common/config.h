// SPDX-License-Identifier: Apache-2.0
// INI files (inih) with a table of known keys: whatever is not in the table is an error that names
// file, line, section and key.
#ifndef LS_COMMON_CONFIG_H
#define LS_COMMON_CONFIG_H

#include <stdbool.h>

#include "common/error.h"

enum ls_config_type {
	LS_CONFIG_STRING, // char[size]; too long is an error
	LS_CONFIG_NAME,   // char[size], 1..63 of [A-Za-z0-9._-]
	LS_CONFIG_UINT,   // uint64_t, decimal, with suffix K, M, G (1024); min..max
	LS_CONFIG_BOOL    // bool: yes/no/true/false/1/0
};

// At most LS_CONFIG_KEYS_MAX of them.
#define LS_CONFIG_KEYS_MAX 64
struct ls_config_key {
	const char *section; // "agent"; for repeated sections "device NAME" give "device"
	const char *key;
	enum ls_config_type type;
	unsigned long offset, size; // into the object that `object` returns
	unsigned long long min, max;
	bool required; // in each section of that kind that is there
};

// `object(user, section, name, line, err)` answers the struct that the section's keys go into: called
// at each section header ("device" and name "nic0"; name NULL for a plain section); NULL with
// *err filled refuses it, a second "device nic0" for instance (the loader itself refuses a second plain
// section and a key given twice). Lines hold at most 197 characters; " ;" begins a comment. Returns 0 or
// negative errno with *err: CONFIG, "FILE:LINE: ...".
typedef void *ls_config_object_fn(void *user, const char *section, const char *name, int line, struct ls_error *err);
int ls_config_load(const char *path, const struct ls_config_key *keys, unsigned n_keys, ls_config_object_fn *object,
		   void *user, struct ls_error *err);

// 1..63 of [A-Za-z0-9._-]
bool ls_name_valid(const char *name);

#endif
