// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/worker_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/sim/sim_client.h"
#include "proto/wire/frame.h"
#include "proto/wire/pb.h"

uv_loop_t rig_loop;
struct simhost rig_host;

int rig_host_start(const char *devices)
{
	uv_loop_init(&rig_loop);
	simhost_start(&rig_host, devices);
	return 0;
}

int rig_host_stop(void **state)
{
	simhost_stop(&rig_host);
	return uv_loop_close(&rig_loop);
}

static void on_done(void *user, const struct ls_job_result *result)
{
	struct rig *r = user;
	r->res = *result;
	r->answered = true;
}

void rig_start(struct rig *r, const char *device, const struct ls_provider *provider, const char *path)
{
	struct ls_worker_options o = {.device = device, .provider = provider, .path = path, .numa_node = 0,
				      .done = on_done, .user = r};
	memset(r, 0, sizeof(*r));
	assert_int_equal(ls_worker_start(&rig_loop, &o, &r->w, NULL), 0);
}

static void on_freed(void *user)
{
	struct rig *r = user;
	r->w = NULL;
}

void rig_stop(struct rig *r)
{
	ls_worker_free(r->w, on_freed, r);
	while (r->w)
		uv_run(&rig_loop, UV_RUN_ONCE);
}

void rig_submit(struct rig *r, const struct ls_job *job)
{
	r->answered = false;
	assert_int_equal(ls_worker_submit(r->w, job), 0);
	assert_true(ls_worker_busy(r->w));
}

void rig_wait(struct rig *r)
{
	while (!r->answered)
		uv_run(&rig_loop, UV_RUN_ONCE);
}

int rig_run(struct rig *r, const struct ls_job *job)
{
	rig_submit(r, job);
	rig_wait(r);
	return r->res.status;
}

int rig_adopt(struct rig *r, int fd)
{
	return rig_run(r, &(struct ls_job){.kind = LS_JOB_ADOPT, .fd = fd});
}

int rig_arc(struct rig *r, enum ls_state to)
{
	return rig_run(r, &(struct ls_job){.kind = LS_JOB_ARC, .target = to, .fd = -1});
}

int rig_simple(struct rig *r, enum ls_job_kind kind)
{
	return rig_run(r, &(struct ls_job){.kind = kind, .fd = -1});
}

struct ls_job rig_precopy_job(uint32_t max_rounds, uint64_t rest_bytes)
{
	return (struct ls_job){.kind = LS_JOB_PRECOPY, .fd = -1, .max_rounds = max_rounds, .rest_bytes = rest_bytes};
}

static void *encode(const Lockstep__V1__Frame *f, size_t *ret_len)
{
	uint8_t *bytes = NULL;
	assert_int_equal(ls_frame_encode(f, &bytes, ret_len, NULL), 0);
	return bytes;
}

static void *open_frame(size_t *ret_len)
{
	static uint8_t token[LS_FRAME_TOKEN_SIZE];
	Lockstep__V1__Open o = LOCKSTEP__V1__OPEN__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	o.protocol_min = o.protocol_max = 1;
	o.migration = (char *)"m1";
	o.device = (char *)"nic0";
	o.token = (ProtobufCBinaryData){.len = sizeof(token), .data = token};
	o.source_host = (char *)"h1";
	o.source_ledger_id = (char *)"0123456789abcdef0123456789abcdef";
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_OPEN;
	f.open = &o;
	return encode(&f, ret_len);
}

void *rig_opened(size_t *ret_len)
{
	Lockstep__V1__Opened o = LOCKSTEP__V1__OPENED__INIT;
	Lockstep__V1__Frame f = LOCKSTEP__V1__FRAME__INIT;
	o.protocol = 1;
	o.ledger_id = (char *)"0123456789abcdef0123456789abcdef";
	f.kind_case = LOCKSTEP__V1__FRAME__KIND_OPENED;
	f.opened = &o;
	return encode(&f, ret_len);
}

static void read_open(int fd)
{
	struct ls_frame_decoder d = {0};
	enum ls_frame_event event = LS_FRAME_MORE;
	uint8_t byte;
	size_t used;
	while (event == LS_FRAME_MORE) {
		assert_int_equal(read(fd, &byte, 1), 1);
		assert_int_equal(ls_frame_decoder_feed(&d, &byte, 1, &used, &event, NULL), 0);
	}
	assert_int_equal(event, LS_FRAME_CONTROL);
	Lockstep__V1__Frame *f = ls_frame_decoder_take(&d);
	assert_int_equal(f->kind_case, LOCKSTEP__V1__FRAME__KIND_OPEN);
	assert_string_equal(f->open->device, "nic0");
	ls_pb_free(&f->base);
	ls_frame_decoder_clear(&d);
}

int rig_dialled(struct rig *source, uint64_t timeout_ms)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	struct ls_job job = {.kind = LS_JOB_CONNECT, .fd = -1, .timeout_ms = timeout_ms};
	snprintf(job.address, sizeof(job.address), "127.0.0.1:%u", ntohs(a.sin_port));
	job.hello = open_frame(&job.hello_len);
	rig_submit(source, &job);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	close(listener);
	read_open(fd);
	return fd;
}

void rig_join(struct rig *source, struct rig *dest)
{
	struct ls_job job = {.kind = LS_JOB_ACCEPT, .fd = rig_dialled(source, 10000)};
	job.hello = rig_opened(&job.hello_len);
	assert_int_equal(rig_run(dest, &job), 0);
	rig_wait(source);
	assert_int_equal(source->res.status, 0);
}

void rig_begin(struct rig *r, int *ret_vmm, const char *name)
{
	char path[200];
	const uint8_t memory = 2;
	*ret_vmm = ls_sim_open(rig_host.socket, name);
	assert_true(*ret_vmm >= 0);
	assert_int_equal(ls_sim_region_write(*ret_vmm, LS_SIM_CONFIG, 4, &memory, 1), 0);
	rig_start(r, name, &ls_provider_sim, simhost_path(&rig_host, name, path));
	assert_int_equal(rig_adopt(r, dup(*ret_vmm)), 0);
	assert_int_equal(r->res.state, LS_STATE_RUNNING);
}
