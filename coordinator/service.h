// SPDX-License-Identifier: Apache-2.0
// The gRPC service lockstep.v1.Lockstep.
#ifndef LS_COORDINATOR_SERVICE_H
#define LS_COORDINATOR_SERVICE_H

#include "coordinator/agents.h"
#include "coordinator/migrations.h"
#include "coordinator/store.h"
#include "proto/rpc/rpc_pb.h"

struct ls_service;

// Adds its methods to the server; all arguments must outlive it.
int ls_service_new(struct ls_rpc_server *server, struct ls_agents *agents, struct ls_migrations *migrations,
		   struct ls_store *store, struct ls_service **ret);
// After the server.
void ls_service_free(struct ls_service *s);

#endif
