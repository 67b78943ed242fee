// SPDX-License-Identifier: Apache-2.0
// A listening socket on the loop. At the limit of file descriptors a connection that waits keeps the socket readable:
// it is taken with a descriptor that was kept for this, and closed at once.
#ifndef LS_AGENT_DOOR_H
#define LS_AGENT_DOOR_H

#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

struct ls_door {
	int fd;           // -1 once closed
	int spare;
	const char *name; // in the log: "NAME.refused"
	uv_poll_t poll;
	uv_timer_t pause; // where not even that helps: nobody is let in for a moment
	uint64_t told_ms;
	void (*came)(void *user, int fd, const struct sockaddr *from); // non-blocking; taken over
	void *user;
	void (*closed)(void *user);
	int closing;
};

// `fd` listens and does not block. Taken over.
void ls_door_open(struct ls_door *d, uv_loop_t *loop, int fd, const char *name,
		  void (*came)(void *user, int fd, const struct sockaddr *from), void *user);
// Nobody comes any more; `closed` once its handles are gone.
void ls_door_close(struct ls_door *d, void (*closed)(void *user));

#endif
