// SPDX-License-Identifier: Apache-2.0
// Guest RAM and its way to the other host: a TCP connection of the VMMs' own. All of it is sent once while the VM
// runs, and what differs from that copy after its devices have stopped.
//
//   "TVRAM001" size | (offset, length, bytes)* | (digest of those, 0)      and back: one byte, 'k'
#ifndef TV_RAM_H
#define TV_RAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct tv_ram {
	int memfd;
	uint8_t *map;
	uint64_t size;

	uint8_t *shadow;        // source: what has been sent
	struct XXH3_state_s *sent_digest, *received_digest; // of all records of the session
	char peer[128];
	int out, in;            // sockets, -1: none
	bool sending, receiving; // a thread is there to be joined
	pthread_t sender, receiver;
	struct ls_error send_error; // the sender thread's, as long as there is one; so is:
	uint64_t first_pass;
	uint64_t sent_before, sent_after; // bytes, of the last move
	bool used;              // destination: not all zeros any more
	_Atomic bool complete;  // destination: all there, digest agreed
};

int tv_ram_init(struct tv_ram *ram, uint64_t size, struct ls_error *err);
void tv_ram_free(struct tv_ram *ram);

// Source. begin: starts to dial `peer` (HOST:PORT) and to send, in a thread of its own. rest: nothing writes to RAM any
// more; answers when the destination has it all. abort: at any time, also when nothing is under way.
int tv_ram_send_begin(struct tv_ram *ram, const char *peer, struct ls_error *err);
int tv_ram_send_rest(struct tv_ram *ram, struct ls_error *err);
void tv_ram_send_abort(struct tv_ram *ram);

// Destination. A new connection ends the one before.
void tv_ram_receive(struct tv_ram *ram, int fd);
void tv_ram_receive_abort(struct tv_ram *ram);

#endif
