// SPDX-License-Identifier: Apache-2.0
// A lockstep-simhost of a test's own: started with the given devices, ended with the test.
#ifndef LS_TESTS_SIMHOST_FIXTURE_H
#define LS_TESTS_SIMHOST_FIXTURE_H

#include <sys/types.h>

struct simhost {
	char dir[64], socket[108];
	pid_t pid;
	int held; // -1, or its end of a pipe
};

// `devices`: INI sections. Returns when it listens. Fails the test otherwise.
void simhost_start(struct simhost *h, const char *devices);
// Ends it in order, and fails the test if it did not end well (a sanitizer's report counts).
void simhost_stop(struct simhost *h);
void simhost_kill(struct simhost *h); // as a host that goes down
const char *simhost_path(const struct simhost *h, const char *name, char buf[200]); // SOCKET#NAME

// A device of its, as a VMM has it. Closing waits until the host has seen it.
int simhost_open(const struct simhost *h, const char *name);
void simhost_close(const struct simhost *h, int fd, const char *name);
// Asks for a state and drops the session that may come with it. 0 or negative errno.
int simhost_set(int fd, int state);

#endif
