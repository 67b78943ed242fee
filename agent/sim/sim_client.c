// SPDX-License-Identifier: Apache-2.0
#include "agent/sim/sim_client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/sim/sim_call.h"

static int host_connect(const char *socket_path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (strlen(socket_path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, socket_path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static int host_call(const char *socket_path, struct ls_sim_call *k)
{
	k->fd = host_connect(socket_path);
	if (k->fd < 0)
		return k->fd;
	int r = ls_sim_call(k);
	close(k->fd);
	return r;
}

int ls_sim_open(const char *socket_path, const char *name)
{
	struct ls_sim_call k = {.op = LS_SIM_OP_OPEN, .out = name, .out_len = strlen(name), .pass_fd = -1};
	int r = host_call(socket_path, &k);
	if (r < 0)
		return r;
	return k.ret_fd >= 0 ? k.ret_fd : -EPROTO;
}

static int named_struct(const char *socket_path, enum ls_sim_op op, const char *name, void *ret, size_t size)
{
	struct ls_sim_call k = {.op = op, .out = name, .out_len = strlen(name), .pass_fd = -1, .in = ret,
				.in_cap = size};
	int r = host_call(socket_path, &k);
	if (r == 0 && k.in_len != size)
		return -EPROTO;
	return r;
}

int ls_sim_query(const char *socket_path, const char *name, struct ls_sim_info *ret)
{
	return named_struct(socket_path, LS_SIM_OP_QUERY, name, ret, sizeof(*ret));
}

int ls_sim_counters(const char *socket_path, const char *name, struct ls_sim_counters *ret)
{
	return named_struct(socket_path, LS_SIM_OP_COUNTERS, name, ret, sizeof(*ret));
}

static int two_strings(const char *socket_path, enum ls_sim_op op, const char *a, const char *b)
{
	char text[LS_SIM_INLINE];
	size_t na = strlen(a) + 1, nb = strlen(b);
	if (na + nb > sizeof(text))
		return -E2BIG;
	memcpy(text, a, na);
	memcpy(text + na, b, nb);
	struct ls_sim_call k = {.op = op, .out = text, .out_len = na + nb, .pass_fd = -1};
	return host_call(socket_path, &k);
}

int ls_sim_check_version(const char *socket_path, const char *type, const char *version)
{
	return two_strings(socket_path, LS_SIM_OP_CHECK, type, version);
}

int ls_sim_debug(const char *socket_path, const char *name, const char *command)
{
	return two_strings(socket_path, LS_SIM_OP_DEBUG, name, command);
}

int ls_sim_get_info(int fd, struct ls_sim_dev_info *ret)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_INFO, .pass_fd = -1, .in = ret, .in_cap = sizeof(*ret)};
	int r = ls_sim_call(&k);
	if (r == 0 && k.in_len != sizeof(*ret))
		return -EPROTO;
	return r;
}

int ls_sim_region_read(int fd, enum ls_sim_region region, uint64_t offset, void *buf, size_t len)
{
	if (len > LS_SIM_BULK)
		return -EINVAL;
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_REGION_READ, .arg = {region, offset, len}, .pass_fd = -1,
			 .in = buf, .in_cap = len};
	int r = ls_sim_call(&k);
	if (r == 0 && k.in_len != len)
		return -EPROTO;
	return r;
}

int ls_sim_region_write(int fd, enum ls_sim_region region, uint64_t offset, const void *buf, size_t len)
{
	if (len > LS_SIM_BULK)
		return -EINVAL;
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_REGION_WRITE, .arg = {region, offset}, .out = buf,
				.out_len = len, .pass_fd = -1};
	return ls_sim_call(&k);
}

int ls_sim_dma_map(int fd, int memfd, uint64_t offset, uint64_t iova, uint64_t size)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_DMA_MAP, .arg = {offset, iova, size}, .pass_fd = memfd};
	return memfd < 0 ? -EBADF : ls_sim_call(&k);
}

int ls_sim_dma_unmap(int fd, uint64_t iova, uint64_t size)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_DMA_UNMAP, .arg = {0, iova, size}, .pass_fd = -1};
	return ls_sim_call(&k);
}

int ls_sim_set_irq(int fd, unsigned vector, int eventfd)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_SET_IRQ, .arg = {vector}, .pass_fd = eventfd};
	return ls_sim_call(&k);
}

int ls_sim_reset(int fd)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_RESET, .pass_fd = -1};
	return ls_sim_call(&k);
}

int ls_sim_get_state(int fd, int *ret)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_GET_STATE, .pass_fd = -1};
	int r = ls_sim_call(&k);
	if (r == 0)
		*ret = (int)k.value[0];
	return r;
}

int ls_sim_set_state(int fd, int state, int *data_fd)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_SET_STATE, .arg = {(uint64_t)state}, .pass_fd = -1};
	int r = ls_sim_call(&k);
	*data_fd = r == 0 ? k.ret_fd : -1;
	return r;
}

int ls_sim_data_size(int fd, uint64_t *ret)
{
	struct ls_sim_call k = {.fd = fd, .op = LS_SIM_OP_DATA_SIZE, .pass_fd = -1};
	int r = ls_sim_call(&k);
	if (r == 0)
		*ret = k.value[0];
	return r;
}

ssize_t ls_sim_read(int data_fd, void *buf, size_t len)
{
	if (len > LS_SIM_BULK)
		len = LS_SIM_BULK;
	struct ls_sim_call k = {.fd = data_fd, .op = LS_SIM_OP_READ, .arg = {len}, .pass_fd = -1, .in = buf,
				.in_cap = len};
	int r = ls_sim_call(&k);
	return r < 0 ? r : (ssize_t)k.in_len;
}

ssize_t ls_sim_write(int data_fd, const void *buf, size_t len)
{
	if (len > LS_SIM_BULK)
		len = LS_SIM_BULK;
	struct ls_sim_call k = {.fd = data_fd, .op = LS_SIM_OP_WRITE, .out = buf, .out_len = len, .pass_fd = -1};
	return ls_sim_call(&k);
}

int ls_sim_precopy_info(int data_fd, uint64_t *initial, uint64_t *dirty)
{
	struct ls_sim_call k = {.fd = data_fd, .op = LS_SIM_OP_PRECOPY_INFO, .pass_fd = -1};
	int r = ls_sim_call(&k);
	if (r >= 0) {
		*initial = k.value[0];
		*dirty = k.value[1];
	}
	return r;
}
