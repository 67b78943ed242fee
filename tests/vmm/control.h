// SPDX-License-Identifier: Apache-2.0
// Commands by line, on stdin and on a unix socket, where each connection carries one command and ends with
// its answer.
//   status            one line of JSON
//   verify            proves that nothing was lost; one line of JSON
//   reset DEVICE      the guest resets it, with everything checked before, and sets it up again: ok, or error: ...
//   table             the ledger of writes as of the last verify
//   wait STATE        answers `ok STATE` once the VM is incoming, running, paused or gone
//   ram-peer ADDRESS  where RAM goes in the next move
//   quit
#ifndef TV_CONTROL_H
#define TV_CONTROL_H

#include <poll.h>

#include "tests/vmm/verify.h"

#define TV_CLIENTS 8u

struct tv_client {
	int in, out;            // -1: free
	char line[256];
	size_t len;
	const char *wait;       // state waited for, NULL: none
};

struct tv_control {
	struct tv_vm *vm;
	unsigned stall_ms;
	int listener;           // -1: none
	struct tv_client client[TV_CLIENTS]; // [0]: stdin
	struct tv_report report;
	bool verified, quit;
};

// `path` NULL: no socket.
int tv_control_init(struct tv_control *c, struct tv_vm *vm, const char *path, bool use_stdin, unsigned stall_ms,
		    struct ls_error *err);
void tv_control_free(struct tv_control *c);
// What to poll for: fills at most TV_CLIENTS + 1 entries, answers how many.
nfds_t tv_control_poll(const struct tv_control *c, struct pollfd *fds);
// After poll(): reads and carries out commands. Then answers those that wait.
void tv_control_serve(struct tv_control *c, const struct pollfd *fds, nfds_t n);
void tv_control_state_changed(struct tv_control *c);

#endif
