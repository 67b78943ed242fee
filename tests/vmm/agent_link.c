// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/agent_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "lockstep/v1/vmm.pb-c.h"
#include "proto/wire/pb.h"
#include "tests/vmm/net.h"

#define PACKET_MAX (128u * 1024)
#define PB_BUDGET (512u * 1024)

typedef Lockstep__V1__VmmMessage Message;

static int send_message(int fd, const Message *msg, const int *fds, unsigned n_fds)
{
	union {
		char buf[CMSG_SPACE(TV_MAX_DEVICES * sizeof(int))];
		struct cmsghdr align;
	} control = { .buf = { 0 } };
	struct iovec iov;
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint8_t *bytes;
	size_t len;
	int r = ls_pb_pack(&msg->base, &bytes, &len);

	if (r)
		return r;
	iov = (struct iovec){ .iov_base = bytes, .iov_len = len };
	if (n_fds) {
		struct cmsghdr *c;

		hdr.msg_control = control.buf;
		hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	if (sendmsg(fd, &hdr, MSG_NOSIGNAL) < 0)
		r = -errno;
	free(bytes);
	return r;
}

static int send_ok(int fd, uint32_t id)
{
	Lockstep__V1__VmmOk ok = LOCKSTEP__V1__VMM_OK__INIT;
	Message msg = LOCKSTEP__V1__VMM_MESSAGE__INIT;

	msg.id = id;
	msg.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_OK;
	msg.ok = &ok;
	return send_message(fd, &msg, NULL, 0);
}

static int send_error(int fd, uint32_t id, const struct ls_error *what)
{
	Lockstep__V1__VmmError error = LOCKSTEP__V1__VMM_ERROR__INIT;
	Message msg = LOCKSTEP__V1__VMM_MESSAGE__INIT;
	char text[512];

	error.message = (char *)ls_error_text(what, text, sizeof(text));
	error.errno_value = what->err;
	msg.id = id;
	msg.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_ERROR;
	msg.error = &error;
	return send_message(fd, &msg, NULL, 0);
}

static int send_devices(int fd, uint32_t id, const struct tv_vm *vm)
{
	Lockstep__V1__VmmDevices devices = LOCKSTEP__V1__VMM_DEVICES__INIT;
	Message msg = LOCKSTEP__V1__VMM_MESSAGE__INIT;
	char *names[TV_MAX_DEVICES];
	int fds[TV_MAX_DEVICES];

	for (unsigned i = 0; i < vm->bus.n; i++) {
		names[i] = (char *)vm->bus.dev[i].name;
		fds[i] = vm->bus.dev[i].fd;
	}
	devices.n_name = vm->bus.n;
	devices.name = names;
	msg.id = id;
	msg.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_DEVICES;
	msg.devices = &devices;
	return send_message(fd, &msg, fds, vm->bus.n);
}

struct giving {
	int fd;
	uint32_t id;
};

static int give_blob(void *user, const char *device, const uint8_t *content, size_t len)
{
	const struct giving *to = user;
	Lockstep__V1__VmmBlob blob = LOCKSTEP__V1__VMM_BLOB__INIT;
	Message msg = LOCKSTEP__V1__VMM_MESSAGE__INIT;

	if (device)
		blob.device = (char *)device;
	blob.content.data = (uint8_t *)content;
	blob.content.len = len;
	msg.id = to->id;
	msg.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_BLOB;
	msg.blob = &blob;
	return send_message(to->fd, &msg, NULL, 0);
}

static int carry_out(int fd, struct tv_vm *vm, const Message *msg, struct ls_error *err)
{
	struct giving to = { .fd = fd, .id = msg->id };

	switch (msg->kind_case) {
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_LEND:
		return tv_vm_lend(vm, msg->lend->probe, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_PAUSE:
		return tv_vm_pause(vm, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_FINAL:
		return tv_vm_final(vm, give_blob, &to, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_BLOB:
		return tv_vm_blob(vm, msg->blob->device, msg->blob->content.data, msg->blob->content.len, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_READY:
		return tv_vm_ready(vm, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_RESUME:
		return tv_vm_resume(vm, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_GONE:
		return tv_vm_gone(vm, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_DISCARD:
		return tv_vm_discard(vm, err);
	case LOCKSTEP__V1__VMM_MESSAGE__KIND_GIVE_BACK:
		tv_vm_given_back(vm);
		return 0;
	default:
		return ls_fail(err, LS_E_INVALID, EPROTO, "a message of kind %d, which no agent sends",
			       (int)msg->kind_case);
	}
}

int tv_agent_serve(int fd, struct tv_vm *vm, struct ls_error *err)
{
	static uint8_t packet[PACKET_MAX];
	ProtobufCMessage *base = NULL;
	const Message *msg;
	struct ls_error why = { 0 };
	ssize_t n = recv(fd, packet, sizeof(packet), MSG_TRUNC);
	int r;

	if (n <= 0)
		return ls_fail(err, LS_E_UNAVAILABLE, n ? errno : ECONNRESET, "the agent has hung up");
	if ((size_t)n > sizeof(packet))
		return ls_fail(err, LS_E_LIMIT, EMSGSIZE, "the agent sent %zd bytes at once", n);
	r = ls_pb_unpack(&lockstep__v1__vmm_message__descriptor, PB_BUDGET, packet, (size_t)n, &base);
	if (r)
		return ls_fail(err, LS_E_INVALID, -r, "the agent sent something that is not a VmmMessage");
	msg = (const Message *)base;
	if (carry_out(fd, vm, msg, &why)) {
		ls_log_error("vmm.refused", &why, "vm=%s", vm->name);
		r = send_error(fd, msg->id, &why);
	} else if (msg->kind_case == LOCKSTEP__V1__VMM_MESSAGE__KIND_LEND) {
		r = send_devices(fd, msg->id, vm);
	} else {
		r = send_ok(fd, msg->id);
	}
	ls_pb_free(base);
	return r ? ls_fail(err, LS_E_UNAVAILABLE, -r, "cannot answer the agent") : 0;
}

int tv_agent_connect(const char *path, const struct tv_hello *who, struct ls_error *err)
{
	Lockstep__V1__VmmHello hello = LOCKSTEP__V1__VMM_HELLO__INIT;
	Message msg = LOCKSTEP__V1__VMM_MESSAGE__INIT;
	int fd = tv_unix_connect(path, SOCK_SEQPACKET), r;

	if (fd < 0)
		return ls_fail(err, LS_E_UNAVAILABLE, -fd, "cannot reach the agent at %s", path);
	hello.vm = (char *)who->vm;
	hello.incoming = who->incoming;
	hello.ram_bytes = who->ram_bytes;
	hello.protocol = 1;
	hello.devices_by = (Lockstep__V1__VmmDevicesBy)who->devices_by;
	msg.kind_case = LOCKSTEP__V1__VMM_MESSAGE__KIND_HELLO;
	msg.hello = &hello;
	r = send_message(fd, &msg, NULL, 0);
	if (r) {
		close(fd);
		return ls_fail(err, LS_E_UNAVAILABLE, -r, "cannot say hello to the agent at %s", path);
	}
	return fd;
}

// The fds of one packet: the shared one first, then those of each device, in order.
static int adopt(struct tv_bus *bus, const Lockstep__V1__VmmGive *give, const int *fds, unsigned n,
		 struct ls_error *err)
{
	bool group = give->by == LOCKSTEP__V1__VMM_DEVICES_BY__GIVEN_BY_GROUP;

	if (give->n_name != bus->n || n != 1 + bus->n * (group ? 2 : 1))
		return ls_fail(err, LS_E_INVALID, EPROTO, "%zu devices and %u fds are given, for %u devices",
			       give->n_name, n, bus->n);
	bus->backend = group ? &tv_backend_group : &tv_backend_cdev;
	bus->container = *fds++;
	for (unsigned i = 0; i < bus->n; i++) {
		struct tv_device *dev = tv_bus_find(bus, give->name[i]);

		if (!dev || dev->fd >= 0)
			return ls_fail(err, LS_E_INVALID, EPROTO, "%s is given twice, or not a device of this VM",
				       give->name[i]);
		dev->fd = *fds++;
		if (group)
			dev->group = *fds++;
	}
	return 0;
}

int tv_agent_take(int fd, struct tv_bus *bus, uint32_t *ret_id, struct ls_error *err)
{
	static uint8_t packet[PACKET_MAX];
	int fds[1 + 2 * TV_MAX_DEVICES];
	union {
		char buf[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = packet, .iov_len = sizeof(packet) };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ProtobufCMessage *base = NULL;
	const Message *msg;
	unsigned n_fds = 0;
	ssize_t n = recvmsg(fd, &hdr, MSG_CMSG_CLOEXEC);
	int r;

	for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&hdr) : NULL; c; c = CMSG_NXTHDR(&hdr, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
		}
	if (n <= 0 || ls_pb_unpack(&lockstep__v1__vmm_message__descriptor, PB_BUDGET, packet, (size_t)n, &base))
		return ls_fail(err, LS_E_UNAVAILABLE, ECONNRESET, "the agent gives no devices: see its log");
	msg = (const Message *)base;
	*ret_id = msg->id;
	if (msg->kind_case != LOCKSTEP__V1__VMM_MESSAGE__KIND_GIVE)
		r = ls_fail(err, LS_E_INVALID, EPROTO, "Give is wanted first");
	else if (msg->give->error)
		r = ls_fail(err, LS_E_DEVICE_BUSY, msg->give->error->errno_value, "the agent: %s",
			    msg->give->error->message);
	else
		r = adopt(bus, msg->give, fds, n_fds, err);
	ls_pb_free(base);
	return r;
}

int tv_agent_taken(int fd, uint32_t id)
{
	return send_ok(fd, id);
}
