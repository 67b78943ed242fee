// SPDX-License-Identifier: Apache-2.0
// Two workers move a simulated device's image over TCP, and everything that can go wrong with it.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/sim/sim_client.h"
#include "tests/unit/worker_fixture.h"

// Two fabrics: an image goes to a device in the same slot.
static const char devices[] = "[device s1]\ntype = stopcopy\nslot = 0\nmemory = 2M\nfabric = 1\n"
			      "[device d1]\ntype = stopcopy\nslot = 0\nmemory = 2M\nfabric = 2\n"
			      "[device s2]\ntype = p2p\nslot = 1\nmemory = 2M\nfabric = 1\n"
			      "[device d2]\ntype = p2p\nslot = 1\nmemory = 2M\nfabric = 2\n"
			      "[device s3]\ntype = full\nslot = 2\nmemory = 8M\nfabric = 1\n"
			      "[device d3]\ntype = full\nslot = 2\nmemory = 8M\nfabric = 2\n";

struct pair {
	struct rig s, d;
	char sname[8], dname[8];
	int s_vmm, d_vmm; // the VMMs' own device fds
};

static void begin(struct pair *p, const char *sname, const char *dname)
{
	strcpy(p->sname, sname);
	strcpy(p->dname, dname);
	rig_begin(&p->s, &p->s_vmm, sname);
	rig_begin(&p->d, &p->d_vmm, dname);
}

static void finish(struct pair *p)
{
	rig_stop(&p->s);
	rig_stop(&p->d);
	close(p->s_vmm);
	close(p->d_vmm);
	assert_int_equal(ls_sim_debug(rig_host.socket, p->sname, "clear"), 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, p->sname, "save-rate 0"), 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, p->sname, "wait-closed"), 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, p->dname, "wait-closed"), 0);
}

static void fill(int vmm, size_t len, unsigned seed)
{
	uint8_t *buf = malloc(len);
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
	for (size_t at = 0; at < len; at += 1 << 20)
		assert_int_equal(ls_sim_region_write(vmm, LS_SIM_BAR2, at, buf + at, 1 << 20), 0);
	free(buf);
}

static void check_same(struct pair *p, size_t len)
{
	const uint8_t memory = 2;
	uint8_t *a = malloc(1 << 20), *b = malloc(1 << 20);
	assert_int_equal(rig_arc(&p->s, LS_STATE_RUNNING), 0);
	assert_int_equal(rig_arc(&p->d, LS_STATE_RUNNING), 0);
	assert_int_equal(ls_sim_region_write(p->d_vmm, LS_SIM_CONFIG, 4, &memory, 1), 0);
	for (size_t at = 0; at < len; at += 1 << 20) {
		assert_int_equal(ls_sim_region_read(p->s_vmm, LS_SIM_BAR2, at, a, 1 << 20), 0);
		assert_int_equal(ls_sim_region_read(p->d_vmm, LS_SIM_BAR2, at, b, 1 << 20), 0);
		assert_memory_equal(a, b, 1 << 20);
	}
	free(a);
	free(b);
}

static void send_and_load(struct pair *p)
{
	rig_submit(&p->d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
	rig_submit(&p->s, &(struct ls_job){.kind = LS_JOB_SEND, .fd = -1});
	rig_wait(&p->s);
	rig_wait(&p->d);
}

static void assert_moved(struct pair *p)
{
	assert_int_equal(p->s.res.status, 0);
	assert_int_equal(p->d.res.status, 0);
	assert_int_equal(p->d.res.state, LS_STATE_STOP);
	assert_true(p->s.res.length > 0);
	assert_int_equal(p->s.res.length, p->d.res.length);
	assert_memory_equal(p->s.res.digest, p->d.res.digest, LS_DIGEST_SIZE);
}

static void move(const char *sname, const char *dname, size_t len)
{
	struct pair p;
	begin(&p, sname, dname);
	fill(p.s_vmm, len, 7);
	assert_true(p.s.res.caps.size_known);
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	assert_int_equal(rig_arc(&p.s, LS_STATE_STOP_COPY), 0);
	assert_true(p.s.res.begin_ns < p.s.res.end_ns);
	send_and_load(&p);
	assert_moved(&p);
	check_same(&p, len);
	finish(&p);
}

static void an_image_moves_for_each_type(void **state)
{
	move("s1", "d1", 2 << 20);
	move("s2", "d2", 2 << 20);
	move("s3", "d3", 8 << 20);
}

static void precopied_bytes_count_and_the_rest_is_small(void **state)
{
	struct pair p;
	struct ls_job job = rig_precopy_job(10, 0);
	begin(&p, "s3", "d3");
	fill(p.s_vmm, 8 << 20, 3);
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	assert_int_equal(rig_arc(&p.s, LS_STATE_PRE_COPY), 0);
	rig_submit(&p.d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
	assert_int_equal(rig_run(&p.s, &job), 0);
	uint64_t before = atomic_load(&ls_worker_progress(p.s.w)->sent);
	assert_true(before >= 8 << 20);
	fill(p.s_vmm, 1 << 20, 4); // dirties what was sent
	assert_int_equal(rig_arc(&p.s, LS_STATE_PRE_COPY_P2P), 0);
	assert_int_equal(rig_arc(&p.s, LS_STATE_STOP_COPY), 0);
	assert_int_equal(rig_simple(&p.s, LS_JOB_SEND), 0);
	rig_wait(&p.d);
	assert_moved(&p);
	assert_true(p.s.res.length - before < 2 << 20);
	check_same(&p, 8 << 20);
	finish(&p);
}

static void precopy_ends_after_its_rounds(void **state)
{
	struct pair p;
	struct ls_job job = rig_precopy_job(3, 0);
	begin(&p, "s3", "d3");
	fill(p.s_vmm, 1 << 20, 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, "s3", "save-rate 4000000"), 0);
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	rig_submit(&p.d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
	assert_int_equal(rig_arc(&p.s, LS_STATE_PRE_COPY), 0);
	rig_submit(&p.s, &job);
	// Written many times over while it is read once.
	for (unsigned i = 1; !p.s.answered; i++) {
		fill(p.s_vmm, 1 << 20, i);
		uv_run(&rig_loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(p.s.res.status, 0);
	assert_int_equal(atomic_load(&ls_worker_progress(p.s.w)->rounds), 3);
	assert_true(atomic_load(&ls_worker_progress(p.s.w)->dirty_left) > 0);
	assert_int_equal(rig_arc(&p.s, LS_STATE_PRE_COPY_P2P), 0);
	assert_int_equal(rig_arc(&p.s, LS_STATE_STOP_COPY), 0);
	assert_int_equal(rig_simple(&p.s, LS_JOB_SEND), 0);
	rig_wait(&p.d);
	assert_moved(&p);
	finish(&p);
}

static void an_interrupt_ends_precopy_and_the_peer_hears_of_it(void **state)
{
	struct pair p;
	struct ls_job job = rig_precopy_job(10, 0);
	begin(&p, "s3", "d3");
	fill(p.s_vmm, 8 << 20, 1);
	assert_int_equal(ls_sim_debug(rig_host.socket, "s3", "save-rate 4000000"), 0);
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	rig_submit(&p.d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
	assert_int_equal(rig_arc(&p.s, LS_STATE_PRE_COPY), 0);
	rig_submit(&p.s, &job);
	while (atomic_load(&ls_worker_progress(p.s.w)->sent) == 0 && !p.s.answered)
		uv_run(&rig_loop, UV_RUN_NOWAIT);
	ls_worker_interrupt(p.s.w);
	rig_wait(&p.s);
	assert_int_equal(p.s.res.status, -ECANCELED);
	assert_int_equal(p.s.res.error.reason, LS_E_CANCELLED);
	rig_wait(&p.d);
	assert_int_equal(p.d.res.error.reason, LS_E_STREAM_BROKEN);
	assert_int_equal(p.d.res.state, LS_STATE_RESUMING);
	// The interrupt is spent: the VM returns to the source, the destination is reset.
	assert_int_equal(rig_arc(&p.s, LS_STATE_RUNNING), 0);
	assert_int_equal(rig_simple(&p.d, LS_JOB_RESET), 0);
	finish(&p);
}

static void an_interrupt_ends_a_load_that_waits(void **state)
{
	struct pair p;
	begin(&p, "s1", "d1");
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	rig_submit(&p.d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
	ls_worker_interrupt(p.d.w);
	rig_wait(&p.d);
	assert_int_equal(p.d.res.error.reason, LS_E_CANCELLED);
	finish(&p);
}

static void a_source_that_vanishes_breaks_the_load(void **state)
{
	struct pair p;
	begin(&p, "s1", "d1");
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	rig_submit(&p.d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
	assert_int_equal(rig_simple(&p.s, LS_JOB_CLOSE), 0);
	rig_wait(&p.d);
	assert_int_equal(p.d.res.error.reason, LS_E_STREAM_BROKEN);
	assert_string_equal(p.d.res.error.device, "d1");
	finish(&p);
}

static void a_destination_that_refuses_tells_the_source_why(void **state)
{
	struct pair p;
	begin(&p, "s2", "d1"); // an image of another type
	fill(p.s_vmm, 2 << 20, 9);
	assert_int_equal(ls_sim_debug(rig_host.socket, "s2", "save-rate 8000000"), 0);
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	rig_submit(&p.d, &(struct ls_job){.kind = LS_JOB_LOAD, .fd = -1});
	assert_int_equal(rig_arc(&p.s, LS_STATE_STOP_COPY), 0);
	rig_submit(&p.s, &(struct ls_job){.kind = LS_JOB_SEND, .fd = -1});
	rig_wait(&p.d);
	assert_int_equal(p.d.res.error.reason, LS_E_LOAD_FAILED);
	assert_int_equal(p.d.res.error.err, EMEDIUMTYPE);
	rig_wait(&p.s);
	assert_int_equal(p.s.res.error.reason, LS_E_LOAD_FAILED);
	assert_int_equal(p.s.res.error.err, EMEDIUMTYPE);
	assert_int_equal(p.s.res.state, LS_STATE_STOP_COPY);
	assert_int_equal(rig_arc(&p.s, LS_STATE_RUNNING), 0);
	finish(&p);
}

static void a_load_that_the_device_refuses_at_the_end_is_an_error(void **state)
{
	struct pair p;
	begin(&p, "s1", "d1");
	assert_int_equal(ls_sim_debug(rig_host.socket, "d1", "fail RESUMING STOP EREMOTEIO"), 0);
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	assert_int_equal(rig_arc(&p.s, LS_STATE_STOP_COPY), 0);
	send_and_load(&p);
	assert_int_equal(p.s.res.status, 0);
	assert_int_equal(p.d.res.error.reason, LS_E_LOAD_FAILED);
	assert_int_equal(p.d.res.error.err, EREMOTEIO);
	assert_string_equal(p.d.res.error.arc, "RESUMING -> STOP");
	assert_int_equal(p.d.res.state, LS_STATE_RESUMING);
	finish(&p);
}

#ifdef LOCKSTEP_CONTROLS
static void broken_stream(const char *control, enum ls_reason first, enum ls_reason second)
{
	struct pair p;
	assert_int_equal(setenv("LOCKSTEP_CONTROL", control, 1), 0);
	begin(&p, "s3", "d3");
	fill(p.s_vmm, 8 << 20, 5);
	assert_int_equal(rig_arc(&p.d, LS_STATE_RESUMING), 0);
	rig_join(&p.s, &p.d);
	assert_int_equal(rig_arc(&p.s, LS_STATE_STOP_COPY), 0);
	send_and_load(&p);
	assert_true(p.d.res.error.reason == first || p.d.res.error.reason == second);
	assert_int_equal(p.d.res.state, LS_STATE_RESUMING);
	finish(&p);
	assert_int_equal(unsetenv("LOCKSTEP_CONTROL"), 0);
}

static void a_bent_byte_is_noticed_every_time(void **state)
{
	// The device's own check may come first.
	for (int i = 0; i < 5; i++)
		broken_stream("other,bend-stream-byte", LS_E_DIGEST_MISMATCH, LS_E_LOAD_FAILED);
}

static void a_stream_cut_one_frame_short_is_noticed_every_time(void **state)
{
	for (int i = 0; i < 5; i++)
		broken_stream("cut-stream", LS_E_STREAM_BROKEN, LS_E_STREAM_BROKEN);
}
#endif

static int start(void **state)
{
	return rig_host_start(devices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_moves_for_each_type),
		cmocka_unit_test(precopied_bytes_count_and_the_rest_is_small),
		cmocka_unit_test(precopy_ends_after_its_rounds),
		cmocka_unit_test(an_interrupt_ends_precopy_and_the_peer_hears_of_it),
		cmocka_unit_test(an_interrupt_ends_a_load_that_waits),
		cmocka_unit_test(a_source_that_vanishes_breaks_the_load),
		cmocka_unit_test(a_destination_that_refuses_tells_the_source_why),
		cmocka_unit_test(a_load_that_the_device_refuses_at_the_end_is_an_error),
#ifdef LOCKSTEP_CONTROLS
		cmocka_unit_test(a_bent_byte_is_noticed_every_time),
		cmocka_unit_test(a_stream_cut_one_frame_short_is_noticed_every_time),
#endif
	};
	return cmocka_run_group_tests(tests, start, rig_host_stop);
}
