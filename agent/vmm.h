// SPDX-License-Identifier: Apache-2.0
// Whoever owns a VM on this host: pauses and resumes it, lends its device fds, gives and takes blobs.
// Four adapters: `native` speaks vmm.proto on the agent's unix socket; `qmp` (QEMU: stop, cont, quit);
// `exec` (two commands); `none`. One request at a time per VM. Loop thread.
#ifndef LS_AGENT_VMM_H
#define LS_AGENT_VMM_H

#include <uv.h>

#include "agent/config.h"
#include "agent/role.h"

#define LS_BLOB_MAX 65536u                 // bytes each
#define LS_BLOBS_MAX (LS_MAX_DEVICES + 1u) // one per device, one for the VMM itself

struct ls_blobs {
	unsigned n;
	struct {
		char device[LS_NAME_MAX]; // this host's name; empty: the VMM's own
		uint8_t *content;
		size_t len;
	} at[LS_BLOBS_MAX];
};
// Copies. -EEXIST, -E2BIG, -ENOMEM.
int ls_blobs_add(struct ls_blobs *b, const char *device, const void *content, size_t len);
void ls_blobs_clear(struct ls_blobs *b);

struct ls_lent {
	unsigned n; // the callback takes over the fds
	struct {
		char name[LS_NAME_MAX];
		int fd;
	} at[LS_MAX_DEVICES];
};

struct ls_vmm;
typedef void ls_vmm_done_fn(void *user, const struct ls_error *err); // NULL: ok
typedef void ls_vmm_lent_fn(void *user, const struct ls_error *err, struct ls_lent *lent);

// What an adapter is. `request` answers with ls_vmm_answer() once, later or at once.
struct ls_vmm_ops {
	const char *name;
	bool lends; // false: the agent opens the devices itself
	void (*lend)(struct ls_vmm *v, const char *migration, bool probe);
	void (*request)(struct ls_vmm *v, enum ls_vmm_op op);
	void (*give_up)(struct ls_vmm *v); // the request has taken too long
};

struct ls_vmm_events {
	void (*hello)(void *user, struct ls_vmm *v);
	void (*lost)(void *user, struct ls_vmm *v); // comes before the callback of a request under way
};

struct ls_vmm {
	const struct ls_vm_config *config;
	const struct ls_vmm_ops *ops;
	const struct ls_vmm_events *events;
	void *events_user;
	uv_loop_t *loop;
	bool connected, incoming;
	uint64_t ram_bytes;
	void *state;            // the adapter's
	bool busy;
	enum ls_vmm_op op;
	struct ls_blobs *blobs; // FINAL fills it, READY sends it; the caller's
	unsigned blobs_sent;
	ls_vmm_done_fn *done;
	ls_vmm_lent_fn *lent;
	void *user;
	uv_timer_t timer;
};

struct ls_vmms;
int ls_vmms_open(uv_loop_t *loop, const struct ls_agent_config *config, const struct ls_vmm_events *events, void *user,
		 struct ls_vmms **ret, struct ls_error *err);
// Handles go when the loop has run. NULL is fine.
void ls_vmms_close(struct ls_vmms *m);
const struct ls_agent_config *ls_vmms_config(const struct ls_vmms *m);
struct ls_vmm *ls_vmms_find(struct ls_vmms *m, const char *vm); // every configured VM has one
struct ls_vmm *ls_vmms_at(struct ls_vmms *m, unsigned i);       // NULL past the last

// -EBUSY, -ENOTCONN, or 0: then the callback comes once; inside, where there is nothing to wait for.
int ls_vmm_lend(struct ls_vmm *v, const char *migration, bool probe, ls_vmm_lent_fn *lent, void *user);
int ls_vmm_request(struct ls_vmm *v, enum ls_vmm_op op, struct ls_blobs *blobs, ls_vmm_done_fn *done, void *user);

// For adapters.
void ls_vmm_answer(struct ls_vmm *v, const struct ls_error *err, struct ls_lent *lent);
void ls_vmm_gone(struct ls_vmm *v); // was connected
extern const struct ls_vmm_ops ls_vmm_native, ls_vmm_qmp, ls_vmm_exec, ls_vmm_none;

#endif
