// SPDX-License-Identifier: Apache-2.0
// lockstepd's configuration file.
//
//	[coordinator]
//	id = one
//	listen = 127.0.0.1:7700
//	store = /var/lib/lockstep/coordinator.db
//	plaintext = loopback
//
//	[host host-a]
//	agent = 127.0.0.1:7701
//	stream = 127.0.0.1:7702
#ifndef LS_COORDINATOR_CONFIG_H
#define LS_COORDINATOR_CONFIG_H

#include "common/error.h"

#define LS_MAX_HOSTS 256

struct ls_host_config {
	char name[64];
	char agent[160];  // the agent's gRPC address (proto/rpc/address.h)
	char stream[160]; // where other agents reach it; told to the source at Prepare
	int line;	  // of its section
};

struct ls_coord_config {
	char id[64];
	char listen[160];
	char store[4096];
	char plaintext[16]; // "loopback" (default) or "any"
	unsigned n_hosts;
	struct ls_host_config host[LS_MAX_HOSTS];
};

// Heap object, to be freed with free(). CONFIG: "FILE:LINE: ..."
int ls_coord_config_load(const char *path, struct ls_coord_config **ret, struct ls_error *err);

#endif
