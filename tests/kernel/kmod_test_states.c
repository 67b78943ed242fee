// SPDX-License-Identifier: Apache-2.0
/* States: the oracle, reset, failures, the parent. */
#include "kmod_test.h"

/* The image is the caller's to free; the device ends up in RUNNING after a reset. */
static bool image_of(struct vdev *v, struct image *img)
{
	memset(img, 0, sizeof(*img));
	CHECK_EQ(reset(v), 0);
	CHECK_EQ(save(v, img), 0);
	CHECK_EQ(reset(v), 0);
	return true;
}

static bool bring_to(struct vdev *v, unsigned state, const struct image *img)
{
	CHECK_EQ(reset(v), 0);
	if (state == LSM_ERROR) {
		unsigned next = flags_of(v) & 2 ? LSM_RUNNING_P2P : LSM_STOP;
		char text[40];

		snprintf(text, sizeof(text), "RUNNING %u 5 error", next);
		CHECK(vdev_debug(v, "fail_arc", text));
		CHECK_EQ(set_state(v, LSM_STOP, NULL), -EIO);
	} else if (state == LSM_RESUMING) {
		int fd;

		CHECK_EQ(set_state(v, state, &fd), 0);
		CHECK(write(fd, img->p, img->len) == (ssize_t)img->len);
		close(fd);
	} else {
		CHECK_EQ(set_state(v, state, NULL), 0);
	}
	CHECK_EQ(get_state(v), state);
	return true;
}

/* The first step is shown by making just that one fail; then the whole walk. */
static bool check_cell(struct vdev *v, unsigned cur, unsigned to, int next, const struct image *img)
{
	char text[40];

	CHECK(bring_to(v, cur, img));
	if (next < 0) {
		CHECK_EQ(set_state(v, to, NULL), -EINVAL);
		CHECK_EQ(get_state(v), cur);
		return true;
	}
	if (cur != to) {
		snprintf(text, sizeof(text), "%u %d %d", cur, next, EDOM);
		CHECK(vdev_debug(v, "fail_arc", text));
		CHECK_EQ(set_state(v, to, NULL), -EDOM);
		CHECK_EQ(get_state(v), cur);
	}
	CHECK_EQ(set_state(v, to, NULL), 0);
	CHECK_EQ(get_state(v), to);
	return true;
}

static bool oracle_for(struct vdev *v)
{
	unsigned flags, cur, to, cells = 0;
	char line[256], next[16];
	struct image img;
	FILE *f = fopen(oracle_path, "r");

	CHECK(f);
	CHECK(image_of(v, &img));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u,%u,%u,%15s", &flags, &cur, &to, next) != 4 || flags != flags_of(v))
			continue;
		if (!check_cell(v, cur, to, next[0] == 'E' ? -EINVAL : next[0] - '0', &img)) {
			printf("# cell: flags %u, %u -> %u\n", flags, cur, to);
			return false;
		}
		cells++;
	}
	fclose(f);
	free(img.p);
	printf("# %s: %u cells\n", v->type, cells);
	CHECK(cells >= 40);
	CHECK_EQ(set_state(v, 8, NULL), -EINVAL);
	CHECK_EQ(set_state(v, 0xffffffff, NULL), -EINVAL);
	return true;
}

static bool with_device(const char *type, bool (*fn)(struct vdev *))
{
	struct vdev v;
	bool ok;

	CHECK(vdev_create(&v, type, 8, 1, 7));
	CHECK(vdev_open(&vm, &v));
	ok = fn(&v);
	vdev_close(&v);
	CHECK(vdev_remove(&v));
	return ok;
}

bool test_oracle_stopcopy(void)
{
	return with_device("stopcopy", oracle_for);
}

bool test_oracle_p2p(void)
{
	return with_device("p2p", oracle_for);
}

bool test_oracle_full(void)
{
	return with_device("full", oracle_for);
}

bool test_features(void)
{
	struct vfio_device_feature_migration m = { 0 };
	uint64_t size = 0, small = 0;

	CHECK(fresh_pair());
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &m, sizeof(m)), 0);
	CHECK_EQ(m.flags, flags_of(&a));
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIGRATION, &m, sizeof(m)), -EINVAL);
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &m, 4), -EINVAL);
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | 999, &m, sizeof(m)), -ENOTTY);
	if (!have_precopy)
		return true;
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | FEATURE_DATA_SIZE, &small, 8), 0);
	CHECK_EQ(set32(&a, LSM_REG_CTRL, 0), 0);
	CHECK_EQ(window(&a, 12345, &(uint8_t){ 1 }, 1, true), 0);
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | FEATURE_DATA_SIZE, &size, 8), 0);
	CHECK(size >= small + 4096);
	CHECK(vdev_debug(&a, "quirks", "4"));
	CHECK_EQ(feature(&a, VFIO_DEVICE_FEATURE_GET | FEATURE_DATA_SIZE, &size, 8), -ENOTTY);
	CHECK(vdev_debug(&a, "quirks", "0"));
	return true;
}

bool test_reset_makes_it_new(void)
{
	int fd;

	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 5));
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, &fd), 0);
	CHECK_EQ(reset(&a), 0);
	CHECK(read(fd, &(char){ 0 }, 1) < 0 && errno == ENODEV);
	close(fd);
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	CHECK_EQ(config_read16(&a, 4), 0);
	CHECK_EQ(config_write16(&a, 4, 6), 0);
	CHECK_EQ(reg32(&a, LSM_REG_CTRL), 0);
	CHECK_EQ(reg64(&a, LSM_REG_TX_SEQ + 8), 1);
	CHECK_EQ(vdev_counter(&a, "pages "), 0);
	return true;
}

bool test_arcs_fail_and_wait_as_asked(void)
{
	double begin;

	CHECK(fresh_pair());
	CHECK(vdev_debug(&a, "fail_arc", "RUNNING_P2P STOP 71 sticky"));
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(set_state(&a, LSM_STOP, NULL), -71);
		CHECK_EQ(get_state(&a), LSM_RUNNING_P2P);
	}
	CHECK(vdev_debug(&a, "fail_arc", "RUNNING_P2P STOP 0"));
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), 0);
	CHECK(vdev_debug(&a, "fail_arc", "STOP STOP_COPY 5 error"));
	CHECK_EQ(set_state(&a, LSM_STOP_COPY, NULL), -EIO);
	CHECK_EQ(get_state(&a), LSM_ERROR);
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), -EINVAL);
	CHECK_EQ(reset(&a), 0);
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	CHECK(vdev_debug(&a, "arc_latency", "2 5 300"));
	begin = seconds();
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK(seconds() - begin >= 0.29);
	CHECK(vdev_debug(&a, "arc_latency", "2 5 0"));
	CHECK(!vdev_debug(&a, "fail_arc", "RUNNING NOWHERE 5"));
	CHECK(!vdev_debug(&a, "arc_latency", "2 5 99999999"));
	return true;
}

bool test_parent_that_goes_away_disables_its_functions_and_answers_enotconn(void)
{
	const char *going = "/sys/kernel/debug/lockstep_vdev/lockstep-pf0/going";
	struct vdev c;
	int fd;

	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 5));
	CHECK_EQ(set_state(&b, LSM_STOP_COPY, &fd), 0);
	CHECK(vdev_create(&c, "p2p", 6, 0, -1));
	CHECK(write_file(going, "1"));
	while (read(a.irq[0], &(uint64_t){ 0 }, 8) == 8)
		;
	CHECK(read(fd, &(char){ 0 }, 1) < 0 && errno == ENODEV);
	close(fd);
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), -ENOTCONN);
	CHECK_EQ(set_state(&b, LSM_STOP_COPY, NULL), 0);
	CHECK_EQ(get_state(&a), LSM_RUNNING);
	/* What ends a session still works, what begins one does not. */
	CHECK_EQ(set_state(&b, LSM_RESUMING, NULL), -ENOTCONN);
	CHECK_EQ(get_state(&b), LSM_STOP);
	CHECK_EQ(reset(&a), -ENOTCONN);
	CHECK(!vdev_open(&vm, &c) && errno == ENOTCONN);
	vdev_close(&c);
	CHECK(read(a.irq[0], &(uint64_t){ 0 }, 8) < 0);
	CHECK(write_file(going, "0"));
	CHECK(vdev_remove(&c));
	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, 5));
	return true;
}
