// SPDX-License-Identifier: Apache-2.0
// A lock that is granted in the order of asking. An engine without a rate limit takes and drops its device's lock
// without pause; a plain mutex would keep everybody else from it for seconds.
#include "agent/sim/simhost.h"

void sim_lock_init(struct sim_lock *l)
{
	pthread_mutex_init(&l->mutex, NULL);
	pthread_cond_init(&l->turn, NULL);
	l->next = l->serving = 0;
}

static void take(struct sim_lock *l)
{
	uint64_t ticket = l->next++;
	while (l->serving != ticket)
		pthread_cond_wait(&l->turn, &l->mutex);
}

static void drop(struct sim_lock *l)
{
	if (++l->serving != l->next)
		pthread_cond_broadcast(&l->turn);
}

void sim_lock(struct sim_lock *l)
{
	pthread_mutex_lock(&l->mutex);
	take(l);
	pthread_mutex_unlock(&l->mutex);
}

void sim_unlock(struct sim_lock *l)
{
	pthread_mutex_lock(&l->mutex);
	drop(l);
	pthread_mutex_unlock(&l->mutex);
}

void sim_lock_wait(struct sim_lock *l, pthread_cond_t *cond)
{
	pthread_mutex_lock(&l->mutex);
	drop(l);
	pthread_cond_wait(cond, &l->mutex);
	take(l);
	pthread_mutex_unlock(&l->mutex);
}
