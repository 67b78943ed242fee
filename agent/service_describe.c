// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/migration.h"
#include "agent/service.h"
#include "agent/survey.h"
#include "proto/rpc/rpc_pb.h"
#include "proto/wire/pb.h"

#define FILE_TAIL 60

struct describe {
	struct ls_agent *agent;
	struct ls_rpc_call *call;
	char vm[LS_NAME_MAX];
};

static const char *remedy(enum ls_reason reason)
{
	switch (reason) {
	case LS_E_DEVICE_ABSENT: return "create it, bind it to its VFIO driver, or correct path=";
	case LS_E_DEVICE_BUSY: return "end the process that holds it, or let its VMM connect to the agent";
	case LS_E_NOT_MIGRATABLE: return "bind it to a driver that offers migration";
	case LS_E_V1_ONLY: return "its driver needs an update to migration v2";
	case LS_E_ARC_STUCK: return "see the kernel's log; if it never returns, reboot the host";
	case LS_E_BAD_STATE: return "reset it, or end what drives it";
	case LS_E_VMM_ABSENT: return "start its VMM, or set an adapter in [vm]";
	default: return "see the agent's log";
	}
}

// What is wrong, where it is configured, what to do.
static void explain(const struct ls_agent *a, const struct ls_agent_device *d, struct ls_error *ret)
{
	const struct ls_vmm *v = ls_vmms_find(a->vmms, d->config->vm);
	struct ls_error why = d->problem;
	size_t len = strlen(a->config->file);
	const char *file = a->config->file + (len > FILE_TAIL ? len - FILE_TAIL : 0); // its end tells more

	if (!why.reason && v && !v->connected)
		ls_fail(&why, LS_E_VMM_ABSENT, 0, "no VMM of %s is connected", d->config->vm);
	else if (!why.reason && !d->looked)
		ls_fail(&why, LS_E_DEVICE_BUSY, 0, "has not been looked at yet");
	else if (!why.reason && !d->done && d->state != LS_STATE_RUNNING)
		ls_fail(&why, LS_E_BAD_STATE, 0, "is in %s, not RUNNING", ls_state_name(d->state));
	*ret = why;
	if (!why.reason)
		return;
	snprintf(ret->message, sizeof(ret->message), "%s:%d: device %.30s: %.80s; %.60s", file,
		 d->config->line, d->config->name, why.message, remedy(why.reason));
	snprintf(ret->device, sizeof(ret->device), "%s", d->config->name);
}

static void fill(const struct ls_agent *a, struct ls_agent_device *d, Lockstep__V1__Device *out,
		 struct ls_error *problem, Lockstep__V1__ErrorDetail *detail)
{
	lockstep__v1__device__init(out);
	out->name = (char *)d->config->name;
	out->vm = (char *)d->config->vm;
	out->provider = (char *)d->config->provider;
	out->path = (char *)d->config->path;
	out->slot = (char *)d->config->slot;
	out->driver = d->info.driver;
	out->type = d->info.type;
	out->version = d->info.version;
	out->numa_node = d->info.numa_node;
	out->open = d->looked;
	if (d->looked) {
		int state = d->done ? ls_worker_progress(d->worker)->state : d->state;
		out->flags = d->caps.flags;
		out->state = state >= 0 ? (uint32_t)state : 0;
		out->size_known = d->caps.size_known;
		out->size = d->size;
		out->dirty_tracking = d->caps.dirty_tracking;
	}
	explain(a, d, problem);
	if (!problem->reason)
		return;
	ls_error_to_pb(problem, detail);
	out->problem = detail;
}

static void answer(struct describe *q)
{
	struct ls_agent *a = q->agent;
	unsigned n = a->config->n_devices, v = a->config->n_vms;
	Lockstep__V1__DescribeResponse response = LOCKSTEP__V1__DESCRIBE_RESPONSE__INIT;
	Lockstep__V1__Device *device = calloc(n + 1, sizeof(*device)), **devices = calloc(n + 1, sizeof(*devices));
	Lockstep__V1__ErrorDetail *detail = calloc(n + 1, sizeof(*detail));
	struct ls_error *problem = calloc(n + 1, sizeof(*problem));
	Lockstep__V1__VmmInfo *vmm = calloc(v + 1, sizeof(*vmm)), **vmms = calloc(v + 1, sizeof(*vmms));

	if (!device || !devices || !detail || !problem || !vmm || !vmms) {
		ls_rpc_finish(q->call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
		goto out;
	}
	for (unsigned i = 0; i < n; i++) {
		if (q->vm[0] && strcmp(q->vm, a->config->device[i].vm) != 0)
			continue;
		fill(a, &a->device[i], &device[i], &problem[i], &detail[i]);
		devices[response.n_device++] = &device[i];
	}
	for (unsigned i = 0; i < v; i++) {
		const struct ls_vmm *from = ls_vmms_at(a->vmms, i);
		if (q->vm[0] && strcmp(q->vm, from->config->name) != 0)
			continue;
		lockstep__v1__vmm_info__init(&vmm[i]);
		vmm[i].vm = (char *)from->config->name;
		vmm[i].adapter = (char *)from->ops->name;
		vmm[i].connected = from->connected;
		vmm[i].incoming = from->incoming;
		vmm[i].ram_bytes = from->ram_bytes;
		vmms[response.n_vmm++] = &vmm[i];
	}
	response.device = devices;
	response.vmm = vmms;
	ls_rpc_reply_message(q->call, &response.base);
out:
	free(device);
	free(devices);
	free(detail);
	free(problem);
	free(vmm);
	free(vmms);
}

static void on_surveyed(void *user, bool cancelled)
{
	struct describe *q = user;

	if (cancelled)
		ls_rpc_finish(q->call, LS_RPC_UNAVAILABLE, "the agent is closing");
	else
		answer(q);
	free(q);
}

void ls_service_describe(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ProtobufCMessage *base = ls_rpc_request_unpack(call, &lockstep__v1__describe_request__descriptor, bytes, len);
	struct describe *q;

	if (!base)
		return;
	q = calloc(1, sizeof(*q));
	if (q) {
		q->agent = user;
		q->call = call;
		snprintf(q->vm, sizeof(q->vm), "%.63s", ((Lockstep__V1__DescribeRequest *)base)->vm);
	}
	ls_pb_free(base);
	if (!q || ls_survey(user, q->vm, on_surveyed, q) < 0) {
		free(q);
		ls_rpc_finish(call, LS_RPC_RESOURCE_EXHAUSTED, "no memory");
	}
}

struct check {
	uv_work_t work;
	struct ls_rpc_call *call;
	const struct ls_device_config *device;
	ProtobufCMessage *request;
	int verdict;
	char where[512];
};

static void check_version(uv_work_t *work)
{
	struct check *c = work->data;
	const Lockstep__V1__CheckVersionRequest *q = (const Lockstep__V1__CheckVersionRequest *)c->request;

	c->verdict = ls_provider_find(c->device->provider)
			     ->check_version(c->device->path, q->type, q->version, c->where, sizeof(c->where));
}

static void on_checked(uv_work_t *work, int status)
{
	Lockstep__V1__CheckVersionResponse response = LOCKSTEP__V1__CHECK_VERSION_RESPONSE__INIT;
	struct check *c = work->data;

	response.verdict = c->verdict > 0  ? LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__COMPATIBLE :
			   c->verdict == 0 ? LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__ABSENT :
					     LOCKSTEP__V1__CHECK_VERSION_RESPONSE__VERDICT__INCOMPATIBLE;
	response.errno_value = c->verdict < 0 ? -c->verdict : 0;
	response.where = c->where;
	ls_rpc_reply_message(c->call, &response.base);
	ls_pb_free(c->request);
	free(c);
}

void ls_service_check_version(struct ls_rpc_call *call, const void *bytes, size_t len, void *user)
{
	ProtobufCMessage *base =
		ls_rpc_request_unpack(call, &lockstep__v1__check_version_request__descriptor, bytes, len);
	const Lockstep__V1__CheckVersionRequest *q = (const Lockstep__V1__CheckVersionRequest *)base;
	struct ls_agent *a = user;
	struct ls_error err;

	if (!base)
		return;
	const struct ls_device_config *device = ls_agent_config_device(a->config, q->device);
	struct check *c = device && strlen(q->version) <= 4096 ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		ls_fail(&err, device ? LS_E_INVALID : LS_E_NOT_FOUND, 0,
			device ? "version is longer than 4096 bytes" : "no device %.63s in the configuration",
			q->device);
		ls_service_fail(a, call, &err);
		ls_pb_free(base);
		return;
	}
	c->call = call;
	c->device = device;
	c->request = base;
	c->work.data = c;
	uv_queue_work(a->loop, &c->work, check_version, on_checked);
}
