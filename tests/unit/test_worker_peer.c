// SPDX-License-Identifier: Apache-2.0
// A worker whose peer is no worker: ends that do not fit the image, garbage, nobody at all.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/sim/sim_client.h"
#include "proto/wire/frame.h"
#include "tests/unit/worker_fixture.h"

static const char devices[] = "[device s1]\ntype = stopcopy\nslot = 0\nmemory = 2M\nfabric = 1\n"
			      "[device d1]\ntype = stopcopy\nslot = 0\nmemory = 2M\nfabric = 2\n";

// What a source would send, with an End of the test's choosing. Answers the destination's status.
static int load_with_end(struct rig *d, int64_t length_off, unsigned flip, const uint8_t *image, size_t len)
{
	uint8_t digest[LS_DIGEST_SIZE], header[LS_FRAME_HEADER_MAX];
	uint8_t *end_bytes;
	size_t end_len;
	Lockstep__V1__End end = LOCKSTEP__V1__END__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	struct ls_job job = {.kind = LS_JOB_ACCEPT};
	int sv[2];
	assert_int_equal(rig_arc(d, LS_STATE_RESUMING), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	job.fd = sv[0];
	job.hello = rig_opened(&job.hello_len);
	assert_int_equal(rig_run(d, &job), 0);
	ls_digest_of(image, len, digest);
	digest[15] ^= (uint8_t)flip;
	end.length = (uint64_t)((int64_t)len + length_off);
	end.digest = (ProtobufCBinaryData){.len = sizeof(digest), .data = digest};
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_END;
	f.end = &end;
	assert_int_equal(ls_frame_encode(&f, &end_bytes, &end_len, NULL), 0);
	size_t header_len = ls_frame_data_header(len, header);
	assert_int_equal(write(sv[1], header, header_len), header_len);
	assert_int_equal(write(sv[1], image, len), len);
	assert_int_equal(write(sv[1], end_bytes, end_len), end_len);
	free(end_bytes);
	int r = rig_simple(d, LS_JOB_LOAD);
	close(sv[1]);
	return r;
}

// The device itself would take this image: framing alone can tell.
static void an_end_that_does_not_fit_keeps_the_image_from_being_believed(void **state)
{
	struct rig d;
	int vmm, source = ls_sim_open(rig_host.socket, "s1"), data_fd;
	uint8_t image[65536];
	size_t len = 0;
	ssize_t n;
	assert_int_equal(ls_sim_set_state(source, LS_STATE_STOP_COPY, &data_fd), 0);
	while ((n = ls_sim_read(data_fd, image + len, sizeof(image) - len)) > 0)
		len += (size_t)n;
	close(data_fd);
	close(source);
	rig_begin(&d, &vmm, "d1");
	assert_int_equal(load_with_end(&d, 0, 1, image, len), -EBADMSG);
	assert_int_equal(d.res.error.reason, LS_E_DIGEST_MISMATCH);
	assert_int_equal(d.res.state, LS_STATE_RESUMING);
	assert_int_equal(rig_simple(&d, LS_JOB_RESET), 0);
	assert_int_equal(load_with_end(&d, 1, 0, image, len), -EPROTO);
	assert_int_equal(d.res.error.reason, LS_E_STREAM_BROKEN);
	assert_int_equal(d.res.state, LS_STATE_RESUMING);
	assert_int_equal(rig_simple(&d, LS_JOB_RESET), 0);
	assert_int_equal(load_with_end(&d, 0, 0, image, len), 0);
	assert_int_equal(d.res.state, LS_STATE_STOP);
	rig_stop(&d);
	close(vmm);
	assert_int_equal(ls_sim_debug(rig_host.socket, "s1", "wait-closed"), 0);
	assert_int_equal(ls_sim_debug(rig_host.socket, "d1", "wait-closed"), 0);
}

static void garbage_on_the_stream_ends_it(void **state)
{
	struct rig d;
	struct ls_job job = {.kind = LS_JOB_ACCEPT};
	int sv[2], vmm;
	rig_begin(&d, &vmm, "d1");
	assert_int_equal(rig_arc(&d, LS_STATE_RESUMING), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	job.fd = sv[0];
	job.hello = rig_opened(&job.hello_len);
	assert_int_equal(rig_run(&d, &job), 0);
	uint8_t junk[256];
	memset(junk, 'G', sizeof(junk));
	assert_int_equal(write(sv[1], junk, sizeof(junk)), sizeof(junk));
	assert_true(rig_simple(&d, LS_JOB_LOAD) < 0);
	assert_true(d.res.error.reason == LS_E_INVALID || d.res.error.reason == LS_E_LIMIT);
	rig_stop(&d);
	close(sv[1]);
	close(vmm);
	assert_int_equal(ls_sim_debug(rig_host.socket, "d1", "wait-closed"), 0);
}

static void connecting_gives_up(void **state)
{
	struct rig s;
	int vmm;
	rig_begin(&s, &vmm, "s1");
	struct ls_job job = {.kind = LS_JOB_CONNECT, .fd = -1, .timeout_ms = 2000, .address = "127.0.0.1:1"};
	job.hello = rig_opened(&job.hello_len);
	assert_true(rig_run(&s, &job) < 0);
	assert_int_equal(s.res.error.reason, LS_E_UNAVAILABLE);
	int silent = rig_dialled(&s, 50);
	rig_wait(&s);
	assert_int_equal(s.res.status, -ETIMEDOUT);
	assert_int_equal(s.res.error.reason, LS_E_UNAVAILABLE);
	close(silent);
	assert_true(rig_simple(&s, LS_JOB_SEND) < 0);
	assert_int_equal(s.res.error.reason, LS_E_BAD_STATE);
	rig_stop(&s);
	close(vmm);
	assert_int_equal(ls_sim_debug(rig_host.socket, "s1", "wait-closed"), 0);
}

static int start(void **state)
{
	return rig_host_start(devices);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_end_that_does_not_fit_keeps_the_image_from_being_believed),
		cmocka_unit_test(garbage_on_the_stream_ends_it),
		cmocka_unit_test(connecting_gives_up),
	};
	return cmocka_run_group_tests(tests, start, rig_host_stop);
}
