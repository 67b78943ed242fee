// SPDX-License-Identifier: Apache-2.0
// One simulated device: its engine's thread, and opening and closing.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/sim/simhost.h"

// Requests of one opening that may be under way at once: an arc that takes long, and those that do not wait for it.
#define SERVERS 6

static void *engine_main(void *arg)
{
	struct sim_dev *d = arg;
	uint64_t next_ns = 0;
	for (;;) {
		sim_lock(&d->lock);
		while (!lsm_engine_ready(&d->model))
			sim_lock_wait(&d->lock, &d->wake);
		sim_unlock(&d->lock);
		next_ns = sim_pace(next_ns, 1, atomic_load(&d->rate));
		lsm_engine_step(&d->model);
		sim_lock(&d->lock);
		pthread_cond_broadcast(&d->idle);
		sim_unlock(&d->lock);
	}
	return NULL;
}

static int refuse(const struct sim_dev *d, struct ls_error *err, const char *what)
{
	return ls_fail(err, LS_E_CONFIG, EINVAL, "device %s: %s", d->name, what);
}

static int find_type(struct sim_dev *d)
{
	for (uint32_t t = LSM_TYPE_STOPCOPY; t <= LSM_TYPE_FULL; t++) {
		d->info = lsm_type_info(t);
		if (d->info && strcmp(d->info->name, d->type_name) == 0)
			return 0;
	}
	return -EINVAL;
}

int sim_dev_init(struct sim_dev *d, struct sim_host *host, struct ls_error *err)
{
	d->host = host;
	if (find_type(d) < 0)
		return refuse(d, err, "type is one of stopcopy, p2p, full");
	if (d->mem_size == 0)
		d->mem_size = d->info->mem_size;
	for (struct sim_dev *o = host->dev; o < d; o++)
		if (o->fabric == d->fabric && o->slot == d->slot)
			return refuse(d, err, "another device of its fabric has the same slot");
	pthread_mutex_init(&d->state, NULL);
	sim_lock_init(&d->lock);
	pthread_cond_init(&d->wake, NULL);
	pthread_cond_init(&d->idle, NULL);
	pthread_rwlock_init(&d->maps, NULL);
	pthread_mutex_init(&d->irqs, NULL);
	pthread_mutex_init(&d->witness, NULL);
	pthread_mutex_init(&d->debug.lock, NULL);
	pthread_cond_init(&d->debug.changed, NULL);
	for (unsigned i = 0; i < LSM_VECTORS; i++)
		d->irq[i] = -1;
	int r = lsm_dev_init(&d->model, d->info->type, (uint32_t)d->mem_size, &sim_env, d);
	if (r < 0)
		return refuse(d, err, "memory is whole MiB, 1M to 64M");
	lsm_dev_set_slot(&d->model, (uint32_t)d->slot);
	sim_config_reset(d);
	atomic_store(&d->cur, LSM_RUNNING);
	r = sim_thread(engine_main, d);
	return r < 0 ? ls_fail(err, LS_E_RESOURCE, -r, "device %s: cannot start its thread", d->name) : 0;
}

static void dev_close(struct sim_dev *d)
{
	sim_reset(d);
	sim_testify(d, 0);
	sim_irq_clear(d);
	sim_map_clear(d);
	pthread_mutex_lock(&d->host->opening);
	atomic_store(&d->is_open, false);
	pthread_cond_broadcast(&d->host->closed);
	pthread_mutex_unlock(&d->host->opening);
}

static void *server_main(void *arg)
{
	struct sim_serving *v = arg;
	struct sim_dev *d = v->dev;
	sim_serve_device(v);
	if (atomic_fetch_sub(&d->users, 1) == 1) {
		dev_close(d);
		close(v->sock);
		free(v);
	}
	return NULL;
}

static int start_servers(struct sim_dev *d, int sock)
{
	struct sim_serving *v = malloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	*v = (struct sim_serving){.host = d->host, .dev = d, .sock = sock};
	atomic_store(&d->users, SERVERS);
	for (unsigned i = 0; i < SERVERS; i++) {
		int r = sim_thread(server_main, v);
		if (r == 0)
			continue;
		// Those that run close the device once the opener's end is gone.
		if (atomic_fetch_sub(&d->users, SERVERS - i) == SERVERS - i) {
			free(v);
			return r;
		}
		shutdown(sock, SHUT_RDWR);
		break;
	}
	return 0;
}

// A kernel's close() returns when the device is closed; here the host has yet to notice. Who comes right after it
// waits, unless an arc keeps the device from being closed.
static void let_it_close(struct sim_dev *d)
{
	struct pollfd end = {.fd = d->sock};
	struct timespec until;

	if (!atomic_load(&d->is_open) || poll(&end, 1, 0) < 1 || !(end.revents & POLLHUP))
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	while (atomic_load(&d->is_open) && pthread_cond_timedwait(&d->host->closed, &d->host->opening, &until) == 0)
		continue;
}

int sim_dev_open(struct sim_dev *d, int *ret_fd)
{
	int pair[2], r = 0;
	pthread_mutex_lock(&d->host->opening);
	let_it_close(d);
	if (atomic_load(&d->is_open))
		r = -EBUSY;
	else if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		r = -errno;
	if (r == 0) {
		atomic_store(&d->is_open, true);
		d->sock = pair[0];
		r = start_servers(d, pair[0]);
		if (r < 0) {
			atomic_store(&d->is_open, false);
			close(pair[0]);
			close(pair[1]);
		}
	}
	pthread_mutex_unlock(&d->host->opening);
	if (r == 0)
		*ret_fd = pair[1];
	return r;
}

void sim_dev_wait_closed(struct sim_dev *d)
{
	pthread_mutex_lock(&d->host->opening);
	while (atomic_load(&d->is_open))
		pthread_cond_wait(&d->host->closed, &d->host->opening);
	pthread_mutex_unlock(&d->host->opening);
}

void sim_dev_type(const struct sim_dev *d, char *buf, size_t size)
{
	snprintf(buf, size, "%s-%uM", d->info->name, (unsigned)(d->mem_size >> 20));
}

void sim_dev_version(const struct sim_dev *d, char buf[LSM_VERSION_MAX])
{
	buf[0] = 0;
	if (d->host->software_version > 0)
		lsm_version_print(d->info, (uint32_t)d->host->software_version, (uint32_t)d->mem_size, buf);
}
