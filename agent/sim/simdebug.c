// SPDX-License-Identifier: Apache-2.0
// The test's hand on a device: sim_client.h lists the commands.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/sim/simhost.h"
#include "common/clock.h"
#include "common/fsm.h"

#define MAX_WORDS 6

static int parse_number(const char *text, uint64_t *ret)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-')
		return -EINVAL;
	*ret = v;
	return 0;
}

static int parse_state(const char *text, unsigned *ret)
{
	uint64_t v;
	if (parse_number(text, &v) == 0 && v < SIM_STATES) {
		*ret = (unsigned)v;
		return 0;
	}
	for (unsigned i = 0; i < SIM_STATES; i++) {
		if (strcmp(text, ls_state_name((int)i)) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_errno(const char *text, int *ret)
{
	uint64_t v;
	if (parse_number(text, &v) == 0) {
		*ret = (int)v;
		return v > 0 && v < 4096 ? 0 : -EINVAL;
	}
	for (int e = 1; e < 200; e++) {
		if (strcmp(text, ls_errno_name(e)) == 0) {
			*ret = e;
			return 0;
		}
	}
	return -EINVAL;
}

static int arc_command(struct sim_dev *d, char **word, unsigned n)
{
	unsigned from, to;
	uint64_t number = 1;
	int error = 0;
	if (n < 3 || parse_state(word[1], &from) < 0 || parse_state(word[2], &to) < 0)
		return -EINVAL;
	struct sim_arc_debug *a = &d->debug.arc[from][to];
	if (strcmp(word[0], "stick") == 0 && n == 3) {
		a->stick = true;
		return 0;
	}
	if (strcmp(word[0], "latency") == 0 && n == 4) {
		if (parse_number(word[3], &number) < 0)
			return -EINVAL;
		a->latency_ms = number;
		return 0;
	}
	if (n < 4 || parse_errno(word[3], &error) < 0 || (n == 5 && parse_number(word[4], &number) < 0))
		return -EINVAL;
	bool into_error = strcmp(word[0], "fail-error") == 0;
	if ((!into_error && strcmp(word[0], "fail") != 0) || n > (into_error ? 4u : 5u))
		return -EINVAL;
	a->fail = error;
	a->left = (unsigned)number;
	a->into_error = into_error;
	return 0;
}

static int set_slot(struct sim_dev *d, uint64_t slot)
{
	if (slot >= LSM_SLOTS)
		return -EINVAL;
	pthread_mutex_lock(&d->host->opening);
	bool busy = atomic_load(&d->is_open);
	if (!busy) {
		d->slot = slot;
		sim_lock(&d->lock);
		lsm_dev_set_slot(&d->model, (uint32_t)slot);
		sim_unlock(&d->lock);
	}
	pthread_mutex_unlock(&d->host->opening);
	return busy ? -EBUSY : 0;
}

static int number_command(struct sim_dev *d, const char *key, const char *text)
{
	uint64_t v;
	if (parse_number(text, &v) < 0)
		return -EINVAL;
	if (strcmp(key, "slot") == 0)
		return set_slot(d, v);
	_Atomic uint64_t *to = strcmp(key, "rate") == 0      ? &d->rate
			       : strcmp(key, "save-rate") == 0 ? &d->save_rate
			       : strcmp(key, "load-rate") == 0 ? &d->load_rate
			       : strcmp(key, "lose-p2p") == 0  ? &d->lose_p2p
			       : strcmp(key, "renew") == 0     ? &d->renew
							       : NULL;
	if (!to)
		return -EINVAL;
	atomic_store(to, v);
	return 0;
}

// Behind everybody's back, and no session is handed out.
static int go(struct sim_dev *d, const char *text)
{
	unsigned state;
	uint64_t begin_ns = ls_now_ns();
	int data_fd = -1, r = parse_state(text, &state);
	if (r == 0)
		r = sim_set_state(d, state, &data_fd);
	if (data_fd >= 0)
		close(data_fd);
	sim_testify(d, begin_ns);
	return r;
}

int sim_debug_command(struct sim_dev *d, char *command)
{
	char *word[MAX_WORDS], *save = NULL;
	unsigned n = 0;
	for (char *w = strtok_r(command, " ", &save); w && n < MAX_WORDS; w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	if (n == 0)
		return -EINVAL;
	if (n == 1 && strcmp(word[0], "wait-closed") == 0) {
		sim_dev_wait_closed(d);
		return 0;
	}
	if (n == 1 && strcmp(word[0], "guest-reset") == 0)
		return sim_reset(d);
	if (n == 2 && strcmp(word[0], "go") == 0)
		return go(d, word[1]);
	if (n == 2)
		return number_command(d, word[0], word[1]);
	int r = 0;
	struct sim_debug *g = &d->debug;
	pthread_mutex_lock(&g->lock);
	if (n == 1 && strcmp(word[0], "wait-stuck") == 0) {
		while (g->stuck == 0)
			pthread_cond_wait(&g->changed, &g->lock);
	} else if (n == 1 && strcmp(word[0], "release") == 0) {
		g->releases++;
		pthread_cond_broadcast(&g->changed);
	} else if (n == 1 && strcmp(word[0], "stick-read") == 0) {
		g->stick_read = true;
	} else if (n == 1 && strcmp(word[0], "clear") == 0) {
		memset(g->arc, 0, sizeof(g->arc));
		g->stick_read = false;
	} else {
		r = arc_command(d, word, n);
	}
	pthread_mutex_unlock(&g->lock);
	return r;
}

static void sleep_ms(uint64_t ms)
{
	struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * 1000000)};
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

// Under the lock.
static void wait_for_release(struct sim_debug *g)
{
	unsigned seen = g->releases;

	g->stuck++;
	pthread_cond_broadcast(&g->changed);
	while (g->releases == seen)
		pthread_cond_wait(&g->changed, &g->lock);
	g->stuck--;
}

void sim_debug_read(struct sim_dev *d)
{
	struct sim_debug *g = &d->debug;

	pthread_mutex_lock(&g->lock);
	bool sticks = g->stick_read;
	g->stick_read = false;
	if (sticks)
		wait_for_release(g);
	pthread_mutex_unlock(&g->lock);
}

int sim_debug_arc(struct sim_dev *d, unsigned from, unsigned to, bool *into_error)
{
	struct sim_debug *g = &d->debug;
	struct sim_arc_debug *a = &g->arc[from][to];
	pthread_mutex_lock(&g->lock);
	uint64_t latency = a->latency_ms;
	pthread_mutex_unlock(&g->lock);
	if (latency)
		sleep_ms(latency);
	pthread_mutex_lock(&g->lock);
	if (a->stick) {
		a->stick = false;
		wait_for_release(g);
	}
	int fail = a->fail;
	*into_error = fail && a->into_error;
	if (fail && a->left > 0 && --a->left == 0)
		a->fail = 0;
	pthread_mutex_unlock(&g->lock);
	return -fail;
}
