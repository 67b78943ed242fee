// SPDX-License-Identifier: Apache-2.0
#ifndef LS_COORDINATOR_SERVICE_INTERNAL_H
#define LS_COORDINATOR_SERVICE_INTERNAL_H

#include "coordinator/service.h"

struct ls_service {
	struct ls_agents *agents;
	struct ls_migrations *migrations;
	struct ls_store *store;
	struct ls_rpc_method method[10];
};

// Ends the call with the status that belongs to the reason, and the error as trailer.
void ls_service_fail(struct ls_rpc_call *call, const struct ls_error *err);
// Finds a migration in memory, else folds it from the store. Answers exactly once, perhaps inside; `seq` is borrowed,
// NULL with `err` filled: NOT_FOUND, LEDGER.
typedef void ls_service_found_fn(void *user, struct ls_migration *m, const struct ls_seq *seq,
				 const struct ls_error *err);
void ls_service_find(struct ls_service *s, const char *id, ls_service_found_fn *fn, void *user);
// As ls_service_find(), for what is not begun by the asking: NOT_FOUND only once every agent has told what it holds open,
// since a store that was lost or restored does not know it yet. UNAVAILABLE: one has not.
void ls_service_seek(struct ls_service *s, const char *id, ls_service_found_fn *fn, void *user);

// Answers `call` with the migration's view when it is durable (a cancel: when its outcome is known too).
void ls_service_wait(struct ls_rpc_call *call, struct ls_migration *m, bool cancel);
// Answers `call` when the operator's decision has been carried out or refused.
void ls_service_wait_resolved(struct ls_rpc_call *call, struct ls_migration *m);
void ls_service_reply_resolve(struct ls_rpc_call *call, const struct ls_seq *seq);
// Streams the view until the migration has ended.
void ls_service_watch(struct ls_rpc_call *call, struct ls_migration *m);

void ls_service_list_hosts(struct ls_rpc_call *call, const void *request, size_t len, void *user);
void ls_service_list_devices(struct ls_rpc_call *call, const void *request, size_t len, void *user);
void ls_service_resolve(struct ls_rpc_call *call, const void *request, size_t len, void *user);
void ls_service_list(struct ls_rpc_call *call, const void *request, size_t len, void *user);

#endif
