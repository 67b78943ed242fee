// SPDX-License-Identifier: Apache-2.0
// One thread per device, on the device's NUMA node, that makes all blocking calls: arcs, data_fd,
// the device's stream. Takes one job at a time from the loop and answers each exactly once.
//
// ADOPT of a device without migration v2 fails (NOT_MIGRATABLE, V1_ONLY) with `caps` filled. ARC asks GET first and
// sends no SET that K2 forbids (BAD_STATE); RESUMING is left by LOAD or RESET only. A failed ARC, RESET or LOAD leaves
// stream and device as they are: `state` says where. PRECOPY without dirty counts makes one pass.
// While initial data is left, a round that sends nothing does not count (K5); for what is announced and does not come
// PRECOPY waits ten seconds in all, and ends well with `initial_left` above 0.
//
// A guest may reset its device while it is pre-copied (K5). The worker sees it by itself, in PRECOPY (a dead session)
// or in the next ARC (the device has left the saving states, or hands out a stream that nobody asked for), and starts
// this device over; the destination's LOAD hears Discard, resets its device and begins anew. Nobody else has to know:
// `restarts` counts.
#ifndef LS_AGENT_WORKER_H
#define LS_AGENT_WORKER_H

#include <stdatomic.h>
#include <stdint.h>
#include <uv.h>

#include "agent/provider.h"
#include "proto/wire/digest.h"

#define LS_CHUNK (1024u * 1024u) // bytes of device state per frame; also bounds memory per device

enum ls_job_kind {
	LS_JOB_ADOPT,   // open `fd` (or the path itself if -1), probe, GET
	LS_JOB_ARC,     // SET_STATE `target`, then GET; keeps a session's fd if one was handed out
	LS_JOB_RESET,   // VFIO_DEVICE_RESET, then GET; ends the session
	LS_JOB_CONNECT, // source: dial `address`, send Open, await Opened
	LS_JOB_ACCEPT,  // destination: take the socket `fd`, answer Opened
	LS_JOB_PRECOPY, // source: rounds of read and send until the policy is satisfied
	LS_JOB_SEND,    // source, in STOP_COPY: read to the end, send all, then End
	LS_JOB_LOAD,    // destination, in RESUMING: receive to End, compare length and digest, -> STOP, answer Loaded
	LS_JOB_CLOSE    // ends session and stream, closes the device
};

struct ls_job {
	enum ls_job_kind kind;
	enum ls_state target;       // ARC
	int fd;                     // ADOPT, ACCEPT: taken over whatever the outcome
	char address[128];          // CONNECT
	void *hello;                // CONNECT, ACCEPT: malloc'ed encoded Frame to say first; taken over
	size_t hello_len;
	uint32_t max_rounds;        // PRECOPY: at least one is made unless nothing is left
	uint64_t rest_bytes;        // PRECOPY: done when initial is 0 and dirty at most this
	uint64_t timeout_ms;        // CONNECT: connect and handshake
};

struct ls_job_result {
	enum ls_job_kind kind;
	int status;                 // 0 or negative errno, then `error` says more
	struct ls_error error;
	int from_state, state;      // before and after, as GET told; -1: GET failed too
	uint64_t begin_ns, end_ns;  // CLOCK_MONOTONIC; ARC, RESET: around the kernel call, else the whole job
	struct ls_dev_caps caps;    // ADOPT
	uint64_t size;              // ADOPT: estimate, 0 unknown
	int fd;                     // ADOPT: the device's, the worker's own until CLOSE; -1: none
	uint64_t length;            // SEND, LOAD: total bytes of the image
	uint8_t digest[LS_DIGEST_SIZE];
};

// Read by the loop at any time, written by the worker.
struct ls_worker_progress {
	_Atomic uint64_t sent, loaded, initial_left, dirty_left;
	_Atomic uint64_t total;     // SEND: the image's size as the stopped device estimated it; 0: not known
	_Atomic uint32_t rounds;
	_Atomic uint32_t restarts;  // guest resets that voided what had been sent, since the stream was opened
	_Atomic int state;          // last known
	_Atomic uint64_t busy_since_ns; // a kernel call under way since; 0: none (ARC_STUCK)
};

struct ls_worker;
typedef void ls_worker_done_fn(void *user, const struct ls_job_result *result); // on the loop

struct ls_worker_options {
	const char *device;         // name in errors and logs
	const struct ls_provider *provider;
	const char *path;
	int numa_node;              // -1: any
	ls_worker_done_fn *done;
	void *user;
};

// `options` is copied, its strings too. RESOURCE: no memory, thread or descriptor.
int ls_worker_start(uv_loop_t *loop, const struct ls_worker_options *options, struct ls_worker **ret,
		    struct ls_error *err);
// Loop thread. One job at a time: -EBUSY while one is under way, and nothing is taken over. `job` is copied.
int ls_worker_submit(struct ls_worker *w, const struct ls_job *job);
// Loop thread: makes a job that waits on data or the stream end soon with -ECANCELED, and shuts the stream. An arc
// under way is not touched (it cannot be). Harmless when idle. The next submit clears it.
void ls_worker_interrupt(struct ls_worker *w);
const struct ls_worker_progress *ls_worker_progress(const struct ls_worker *w);
bool ls_worker_busy(const struct ls_worker *w);
// Interrupts, ends the thread after the job under way (LS_JOB_CLOSE is implied), frees everything, then calls
// `freed` (may be NULL) on the loop. No done callback comes after this call. An arc that never returns keeps all of it.
void ls_worker_free(struct ls_worker *w, void (*freed)(void *user), void *user);

#endif
