// SPDX-License-Identifier: Apache-2.0
/*
 * A reset that meets an arc, or an arc that meets a reset (K6). The one is held where it is, by debugfs, until the
 * other has come; so each order is forced, none is left to luck.
 */
#include <pthread.h>
#include <sched.h>

#include "kmod_test.h"

enum { BY_IOCTL, BY_GUEST, BY_PARENT, WAYS };

static const char *const ways[WAYS] = { "VFIO_DEVICE_RESET", "the guest's reset", "the parent's reset" };
static const char *const state_names[] = {
	"ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
};

struct request {
	struct vdev *v;
	unsigned to;
	int way, rc, fd;
};

static void *do_arc(void *arg)
{
	struct request *r = arg;

	r->rc = set_state(r->v, r->to, &r->fd);
	return NULL;
}

static void *do_reset(void *arg)
{
	struct request *r = arg;

	if (r->way == BY_IOCTL)
		r->rc = reset(r->v);
	else if (r->way == BY_GUEST)
		r->rc = vdev_debug(r->v, "reset", "1") ? 0 : -errno;
	else
		r->rc = write_file("/sys/class/mdev_bus/lockstep-pf0/reset", "1") ? 0 : -errno;
	return NULL;
}

bool under_way(struct vdev *v, const char *what)
{
	char path[200], text[4096];

	snprintf(path, sizeof(path), "/sys/kernel/debug/lockstep_vdev/%s/arcs", v->uuid);
	return read_file(path, text, sizeof(text)) && !strncmp(text, what, strlen(what));
}

bool wait_under_way(struct vdev *v, const char *what)
{
	for (double end = seconds() + 60; seconds() < end; sched_yield())
		if (under_way(v, what))
			return true;
	return false;
}

static bool dead_fd(int fd)
{
	char byte;

	if (fd < 0)
		return true;
	CHECK(read(fd, &byte, 1) < 0 && (errno == ENODEV || errno == EBADF));
	CHECK(write(fd, &byte, 1) < 0 && (errno == ENODEV || errno == EBADF));
	close(fd);
	return true;
}

static bool as_new(struct vdev *v)
{
	CHECK_EQ(config_read16(v, 4), 0);
	CHECK_EQ(vdev_counter(v, "pages "), 0);
	CHECK(vdev_start(v));
	CHECK_EQ(reg64(v, LSM_REG_DONE), 0);
	CHECK_EQ(reg32(v, LSM_REG_CTRL), 0);
	return true;
}

/* The arc is under way when the reset comes: first the one, then the other. */
static bool reset_during_arc(struct vdev *v, unsigned from, unsigned to, int way)
{
	struct request arc = { .v = v, .to = to, .fd = -1 }, hit = { .v = v, .way = way };
	pthread_t arc_thread, hit_thread;
	char text[64];
	int fd = -1;

	CHECK_EQ(reset(v), 0);
	CHECK(vdev_start(v));
	CHECK_EQ(window(v, 5000, &(uint8_t){ 5 }, 1, true), 0);
	traffic(v, 1);
	CHECK_EQ(set_state(v, from, &fd), 0);
	if (from == LSM_RESUMING) {
		/* A whole image, so that the arc itself succeeds. */
		struct image img = { 0 };

		close(fd);
		CHECK_EQ(reset(v), 0);
		CHECK_EQ(save(v, &img), 0);
		CHECK_EQ(reset(v), 0);
		CHECK_EQ(set_state(v, from, &fd), 0);
		CHECK(write(fd, img.p, img.len) == (ssize_t)img.len);
		free(img.p);
	}
	snprintf(text, sizeof(text), "%u %u 60000", from, to);
	CHECK(vdev_debug(v, "arc_latency", text));
	pthread_create(&arc_thread, NULL, do_arc, &arc);
	snprintf(text, sizeof(text), "%s %s now", state_names[from], state_names[to]);
	CHECK(wait_under_way(v, text));
	if (way == BY_PARENT) {
		/* It cannot wait for the arc: it comes back while the arc is where it was. */
		do_reset(&hit);
		CHECK(under_way(v, text));
	} else {
		pthread_create(&hit_thread, NULL, do_reset, &hit);
	}
	snprintf(text, sizeof(text), "%u %u 0", from, to);
	CHECK(vdev_debug(v, "arc_latency", text));
	pthread_join(arc_thread, NULL);
	if (way != BY_PARENT)
		pthread_join(hit_thread, NULL);
	CHECK_EQ(arc.rc, 0);
	CHECK_EQ(hit.rc, 0);
	CHECK_EQ(get_state(v), LSM_RUNNING);
	CHECK(dead_fd(fd) && dead_fd(arc.fd));
	return as_new(v);
}

/* The reset is under way, held up by outstanding work, when the request comes: it starts from RUNNING. */
static bool arc_during_reset(struct vdev *v, unsigned to, int way)
{
	struct request arc = { .v = v, .to = to, .fd = -1 }, hit = { .v = v, .way = way };
	pthread_t arc_thread, hit_thread;
	uint64_t old;

	CHECK_EQ(reset(v), 0);
	CHECK(vdev_start(v));
	old = reg64(v, LSM_REG_TX_SEQ + 8);
	CHECK(vdev_debug(v, "transfer_ms", "60000"));
	ring_desc(&vm, v, 0, LSM_OP_P2P_WRITE, LSM_DESC_IRQ, 1, 64, 0);
	ring_start(v, 1);
	while (reg64(v, LSM_REG_TX_SEQ + 8) == old)
		sched_yield();
	pthread_create(&hit_thread, NULL, do_reset, &hit);
	CHECK(wait_under_way(v, "reset now"));
	pthread_create(&arc_thread, NULL, do_arc, &arc);
	CHECK(under_way(v, "reset now"));
	CHECK(vdev_debug(v, "transfer_ms", "0"));
	pthread_join(hit_thread, NULL);
	pthread_join(arc_thread, NULL);
	CHECK_EQ(hit.rc, 0);
	CHECK_EQ(arc.rc, 0);
	CHECK_EQ(get_state(v), to);
	if (arc.fd >= 0) {
		CHECK(to == LSM_RESUMING ? write(arc.fd, "", 0) == 0 : read(arc.fd, &(char){ 0 }, 1) == 1);
		close(arc.fd);
	}
	CHECK_EQ(reset(v), 0);
	return as_new(v);
}

static bool all_races(struct vdev *v)
{
	unsigned flags, from, to, arcs = 0, seen = 0;
	char line[256], next[16];
	FILE *f = fopen(oracle_path, "r");

	CHECK(f);
	CHECK(fresh_pair());
	while (fgets(line, sizeof(line), f)) {
		/* An arc is a walk of one step. */
		if (sscanf(line, "%u,%u,%u,%15s", &flags, &from, &to, next) != 4 || flags != flags_of(v) ||
		    next[0] == 'E' || (unsigned)(next[0] - '0') != to || from == to || from == LSM_ERROR)
			continue;
		for (int way = 0; way < WAYS; way++) {
			bool ok = reset_during_arc(v, from, to, way);

			if (ok && !(seen & 1u << to))
				ok = arc_during_reset(v, to, way);
			if (!ok) {
				printf("# %s -> %s, %s\n", state_names[from], state_names[to], ways[way]);
				return false;
			}
		}
		seen |= 1u << to;
		arcs++;
	}
	fclose(f);
	printf("# %s: %u arcs, %d resets each\n", v->type, arcs, WAYS);
	CHECK(arcs >= (flags_of(v) & 4 ? 14u : 6u));
	return true;
}

bool test_reset_against_every_arc_ends_in_one_of_the_two_orders(void)
{
	struct vdev v;
	bool ok;

	CHECK(vdev_create(&v, have_precopy ? "full" : "p2p", 8, 1, 7));
	CHECK(vdev_open(&vm, &v));
	ok = all_races(&v);
	vdev_close(&v);
	CHECK(vdev_remove(&v));
	return ok;
}

/* While the parent's reset is pending, each of the other functions is reset at once and only once. */
bool test_parent_reset_reaches_every_function_held_or_not(void)
{
	struct request arc = { .v = &a, .to = LSM_STOP, .fd = -1 };
	pthread_t thread;

	CHECK(fresh_pair());
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(set_state(&b, LSM_STOP_COPY, NULL), 0);
	CHECK(vdev_debug(&a, "arc_latency", "RUNNING_P2P STOP 60000"));
	pthread_create(&thread, NULL, do_arc, &arc);
	CHECK(wait_under_way(&a, "RUNNING_P2P STOP now"));
	for (int i = 0; i < 3; i++) {
		CHECK(write_file("/sys/class/mdev_bus/lockstep-pf0/reset", "1"));
		CHECK_EQ(get_state(&b), LSM_RUNNING);
		CHECK_EQ(set_state(&b, LSM_STOP, NULL), 0);
	}
	CHECK(under_way(&a, "RUNNING_P2P STOP now"));
	CHECK(vdev_debug(&a, "arc_latency", "RUNNING_P2P STOP 0"));
	pthread_join(thread, NULL);
	CHECK_EQ(arc.rc, 0);
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	CHECK_EQ(get_state(&b), LSM_STOP);
	CHECK_EQ(reset(&b), 0);
	return as_new(&a);
}
