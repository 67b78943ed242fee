// SPDX-License-Identifier: Apache-2.0
// Workers driven from a test: one job at a time to its end, or two at once.
#ifndef LS_TESTS_WORKER_FIXTURE_H
#define LS_TESTS_WORKER_FIXTURE_H

#include "agent/worker.h"
#include "tests/unit/simhost_fixture.h"

struct rig {
	struct ls_worker *w;
	struct ls_job_result res;
	bool answered;
};

extern uv_loop_t rig_loop;
extern struct simhost rig_host;

// Of a group of tests: the loop, and a simulated host with these devices.
int rig_host_start(const char *devices);
int rig_host_stop(void **state);

void rig_start(struct rig *r, const char *device, const struct ls_provider *provider, const char *path);
void rig_stop(struct rig *r);
// A worker on a device of rig_host that its VMM has open, memory enabled: *ret_vmm is the VMM's fd, the caller's.
void rig_begin(struct rig *r, int *ret_vmm, const char *name);
void rig_submit(struct rig *r, const struct ls_job *job);
void rig_wait(struct rig *r); // for its answer
int rig_run(struct rig *r, const struct ls_job *job); // submit, wait; status

// One kind each.
int rig_adopt(struct rig *r, int fd);
int rig_arc(struct rig *r, enum ls_state to);
int rig_simple(struct rig *r, enum ls_job_kind kind);
struct ls_job rig_precopy_job(uint32_t max_rounds, uint64_t rest_bytes);

// Joins two workers over TCP on loopback: CONNECT on the source, the test's reading of Open, ACCEPT.
void rig_join(struct rig *source, struct rig *dest);
// The same up to Open: answers the socket on which the destination's agent would say Opened.
int rig_dialled(struct rig *source, uint64_t timeout_ms);
void *rig_opened(size_t *ret_len); // an encoded Opened, malloc'ed

#endif
