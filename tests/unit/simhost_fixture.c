// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/simhost_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/sim/sim_client.h"

void simhost_start(struct simhost *h, const char *devices)
{
	char config[100], line[8] = "";
	int out[2];
	strcpy(h->dir, "/tmp/lockstep-sim-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	snprintf(h->socket, sizeof(h->socket), "%s/sock", h->dir);
	snprintf(config, sizeof(config), "%s/conf", h->dir);
	FILE *f = fopen(config, "we");
	assert_non_null(f);
	fprintf(f, "[host]\nsocket = %s\n%s", h->socket, devices);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(pipe(out), 0);
	h->pid = fork();
	assert_true(h->pid >= 0);
	if (h->pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execl(SIMHOST_BINARY, SIMHOST_BINARY, config, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	assert_int_equal(read(out[0], line, 6), 6);
	assert_string_equal(line, "ready\n");
	h->held = out[0];
}

static int end(struct simhost *h, int signal)
{
	int status = 0;
	char path[100];
	kill(h->pid, signal);
	assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
	close(h->held);
	snprintf(path, sizeof(path), "%s/conf", h->dir);
	unlink(path);
	unlink(h->socket);
	rmdir(h->dir);
	return status;
}

void simhost_stop(struct simhost *h)
{
	int status = end(h, SIGTERM);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

void simhost_kill(struct simhost *h)
{
	end(h, SIGKILL);
}

const char *simhost_path(const struct simhost *h, const char *name, char buf[200])
{
	snprintf(buf, 200, "%s#%s", h->socket, name);
	return buf;
}

int simhost_open(const struct simhost *h, const char *name)
{
	int fd = ls_sim_open(h->socket, name);
	assert_true(fd >= 0);
	return fd;
}

void simhost_close(const struct simhost *h, int fd, const char *name)
{
	close(fd);
	assert_int_equal(ls_sim_debug(h->socket, name, "wait-closed"), 0);
}

int simhost_set(int fd, int state)
{
	int data_fd = -1;
	int r = ls_sim_set_state(fd, state, &data_fd);
	if (data_fd >= 0)
		close(data_fd);
	return r;
}
