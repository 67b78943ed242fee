// SPDX-License-Identifier: Apache-2.0
/*
 * Random requests, legal and not, from many threads at once: kmod_hammer SEED ROUNDS SECONDS [cdev]
 * Ends when either is over. Nothing is expected of the answers; the devices must survive, and work after a reset. Then
 * the module is unloaded and loaded again while others use its files.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "kmod_hammer.h"

struct vm vm;
struct hammered devices[DEVICES];
atomic_int data_fds[DATA_FDS];
uint8_t *scratch;
atomic_ulong counts[KINDS];

static const char *const kind_names[KINDS] = {
	"states", "data_fd", "resets", "odd requests", "closes", "interrupt set-ups", "knobs", "children", "removals",
};
static unsigned long rounds;
static uint64_t seed;
static double end;
static atomic_ulong done;
static atomic_bool over;
static pthread_t threads[THREADS];

uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool more(void)
{
	if (atomic_load(&done) >= rounds || seconds() >= end)
		atomic_store(&over, true);
	return !atomic_load(&over);
}

/* A dup of its fd, so that it may be closed under us. */
static bool borrow(struct hammered *h, struct vdev *ret)
{
	int fd = atomic_load(&h->fd);

	*ret = h->v;
	ret->fd = fd > 0 ? dup(fd) : -1;
	return ret->fd >= 0;
}

static void request(struct hammered *h, struct vdev *v, uint64_t r)
{
	hammer_once(h, v, r);
	close(v->fd);
	atomic_fetch_add(&done, 1);
}

static void *hammer(void *arg)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + (uintptr_t)arg + 1;

	while (more()) {
		uint64_t r = random_next(&state);
		struct hammered *h = &devices[(r >> 56) % LASTING];
		struct vdev v;

		/* By its own file a device opens again when the last dup of the old fd is gone, no sooner. */
		if (!borrow(h, &v)) {
			hammer_reopen(h);
			sched_yield();
			continue;
		}
		request(h, &v, r);
	}
	return NULL;
}

/* Devices that come, are used by all, and are removed while they are. */
static void *come_and_go(void *arg)
{
	struct hammered *h = arg;
	uint64_t state = seed + (uintptr_t)(h - devices) * 77 + 5;

	while (more()) {
		struct hammered_removal removal = { .v = &h->v };
		pthread_t remover;
		struct vdev v;

		if (!hammer_create(h)) {
			hammer_forget(h);
			vdev_remove(&h->v);
			continue;
		}
		for (unsigned n = random_next(&state) % 40; n; n--)
			if (borrow(h, &v))
				request(h, &v, random_next(&state));
		pthread_create(&remover, NULL, hammer_remove, &removal);
		for (unsigned n = random_next(&state) % 20; n; n--)
			if (borrow(h, &v))
				request(h, &v, random_next(&state));
		hammer_close(h);
		pthread_join(remover, NULL);
		hammer_forget(h);
		atomic_fetch_add(&counts[REMOVALS], 1);
	}
	return NULL;
}

static void *disturb(void *unused)
{
	uint64_t state = seed ^ 0xfeed;

	(void)unused;
	while (!atomic_load(&over)) {
		pthread_kill(threads[random_next(&state) % HAMMERS], SIGUSR1);
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	return NULL;
}

static void on_signal(int number)
{
	(void)number;
}

/* Every device is as good as new. */
static bool survived(void)
{
	write_file(PARENT_DEBUG "going", "0");
	for (unsigned i = 0; i < LASTING; i++) {
		struct vdev v;
		struct image x = { 0 };
		bool ok;

		while (!borrow(&devices[i], &v))
			if (!hammer_reopen(&devices[i]))
				return false;
		hammer_calm(&v);
		if (reset(&v) || get_state(&v) != LSM_RUNNING || !vdev_start(&v))
			return false;
		while (read(v.irq[0], &(uint64_t){ 0 }, 8) == 8)
			;
		hammer_ring(&devices[i]);
		ring_start(&v, 4);
		ok = irq_wait(&v, 3) && !save(&v, &x) && !reset(&v) && !load(&v, &x) && !reset(&v);
		close(v.fd);
		free(x.p);
		if (!ok)
			return false;
	}
	return true;
}

static bool all_gone(void)
{
	bool ok = true;

	for (unsigned i = 0; i < LASTING; i++) {
		hammer_close(&devices[i]);
		vdev_close(&devices[i].v);
		ok = vdev_remove(&devices[i].v) && ok;
	}
	return ok;
}

int main(int argc, char **argv)
{
	pthread_t disturber;
	unsigned long total = 0;
	double begin = seconds();
	bool ok;

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 20000;
	end = seconds() + (argc > 3 ? atof(argv[3]) : 600);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = on_signal }, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	vm_init(&vm, argc > 4 && !strcmp(argv[4], "cdev"));
	if (!hammer_set_up()) {
		perror("kmod_hammer: devices");
		return 2;
	}
	for (uintptr_t i = 0; i < HAMMERS; i++)
		pthread_create(&threads[i], NULL, hammer, (void *)i);
	for (unsigned i = HAMMERS; i < THREADS; i++)
		pthread_create(&threads[i], NULL, come_and_go, &devices[LASTING + i - HAMMERS]);
	pthread_create(&disturber, NULL, disturb, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(disturber, NULL);
	ok = survived();
	printf("%s 1 - every device works\n", ok ? "ok" : "not ok");
	/* Data fds outlive their devices, and keep the module. */
	if (!all_gone() || !hammer_unload(&vm, seed)) {
		printf("not ok 2 - removed, unloaded and loaded again under load\n");
		ok = false;
	} else {
		printf("ok 2 - removed, unloaded and loaded again under load\n");
	}
	for (unsigned i = 0; i < KINDS; i++) {
		printf("# %lu %s\n", counts[i], kind_names[i]);
		total += counts[i];
	}
	printf("# %lu requests from %d threads in %.0f s, seed %llu\n", total, THREADS, seconds() - begin,
	       (unsigned long long)seed);
	printf("%d passed, %d failed\n", ok ? 2 : 0, ok ? 0 : 1);
	return !ok;
}
