// SPDX-License-Identifier: Apache-2.0
// Provider `sim`: devices of a lockstep-simhost. A path is SOCKET#NAME.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/provider.h"
#include "agent/sim/sim_client.h"

#define PATH_MAX_LEN 256

struct ls_dev {
	int fd;
};

// Splits SOCKET#NAME in place. NULL: not of this form.
static const char *split(const char *path, char buf[PATH_MAX_LEN])
{
	const char *hash = strrchr(path, '#');
	if (!hash || hash == path || !hash[1] || strlen(path) >= PATH_MAX_LEN)
		return NULL;
	strcpy(buf, path);
	buf[hash - path] = 0;
	return buf + (hash - path) + 1;
}

static int sim_inspect(const char *path, struct ls_dev_info *info, struct ls_error *err)
{
	char host[PATH_MAX_LEN];
	const char *name = split(path, host);
	struct ls_sim_info found;
	memset(info, 0, sizeof(*info));
	info->numa_node = -1;
	if (!name)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "%s is not of the form SOCKET#NAME", path);
	int r = ls_sim_query(host, name, &found);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return 0;
	if (r < 0)
		return ls_fail(err, LS_E_UNAVAILABLE, -r, "the simulated host at %s does not answer", host);
	info->present = true;
	info->numa_node = found.numa_node;
	snprintf(info->driver, sizeof(info->driver), "simulated");
	snprintf(info->type, sizeof(info->type), "%s", found.type);
	snprintf(info->version, sizeof(info->version), "%s", found.version);
	return 0;
}

static int sim_check_version(const char *path, const char *type, const char *version, char *where, size_t where_size)
{
	char host[PATH_MAX_LEN];
	const char *name = split(path, host);
	snprintf(where, where_size, "%s#migration_version/%s", name ? host : path, type);
	if (!name)
		return -EINVAL;
	int r = ls_sim_check_version(host, type, version);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : 1;
}

static int sim_open_fd(const char *path, struct ls_error *err)
{
	char host[PATH_MAX_LEN];
	const char *name = split(path, host);
	if (!name)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "%s is not of the form SOCKET#NAME", path);
	int fd = ls_sim_open(host, name);
	if (fd == -EBUSY)
		return ls_fail(err, LS_E_DEVICE_BUSY, EBUSY, "%s is opened by someone else", path);
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		return ls_fail(err, LS_E_RESOURCE, -fd, "cannot open %s", path);
	if (fd < 0)
		return ls_fail(err, LS_E_DEVICE_ABSENT, -fd, "%s is not there", path);
	return fd;
}

static int sim_open(const char *path, int fd, struct ls_dev **ret, struct ls_error *err)
{
	struct ls_dev *dev = malloc(sizeof(*dev));
	if (!dev)
		return ls_fail(err, LS_E_RESOURCE, ENOMEM, "cannot open %s", path);
	dev->fd = fd >= 0 ? fd : sim_open_fd(path, err);
	if (dev->fd < 0) {
		int r = dev->fd;
		free(dev);
		return r;
	}
	*ret = dev;
	return 0;
}

static void sim_close(struct ls_dev *dev)
{
	if (!dev)
		return;
	close(dev->fd);
	free(dev);
}

static int sim_probe(struct ls_dev *dev, struct ls_dev_caps *ret, struct ls_error *err)
{
	struct ls_sim_dev_info info;
	int r = ls_sim_get_info(dev->fd, &info);
	if (r < 0)
		return ls_fail(err, r == -ENODEV ? LS_E_DEVICE_ABSENT : LS_E_INVALID, -r,
			       "the device fd is not a simulated device's");
	*ret = (struct ls_dev_caps){.flags = info.flags, .size_known = true};
	return 0;
}

static int sim_data_size(struct ls_dev *dev, uint64_t *ret)
{
	return ls_sim_data_size(dev->fd, ret);
}

static int sim_get_state(struct ls_dev *dev, int *ret)
{
	return ls_sim_get_state(dev->fd, ret);
}

static int sim_set_state(struct ls_dev *dev, enum ls_state to, int *data_fd)
{
	return ls_sim_set_state(dev->fd, (int)to, data_fd);
}

static int sim_reset(struct ls_dev *dev)
{
	return ls_sim_reset(dev->fd);
}

static ssize_t sim_read(struct ls_dev *dev, int data_fd, void *buf, size_t len)
{
	return ls_sim_read(data_fd, buf, len);
}

static ssize_t sim_write(struct ls_dev *dev, int data_fd, const void *buf, size_t len)
{
	return ls_sim_write(data_fd, buf, len);
}

static int sim_precopy_info(struct ls_dev *dev, int data_fd, uint64_t *initial, uint64_t *dirty)
{
	return ls_sim_precopy_info(data_fd, initial, dirty);
}

static int sim_fd(const struct ls_dev *dev)
{
	return dev->fd;
}

const struct ls_provider ls_provider_sim = {
	.name = "sim",
	.inspect = sim_inspect,
	.check_version = sim_check_version,
	.open = sim_open,
	.close = sim_close,
	.fd = sim_fd,
	.probe = sim_probe,
	.data_size = sim_data_size,
	.get_state = sim_get_state,
	.set_state = sim_set_state,
	.reset = sim_reset,
	.read = sim_read,
	.write = sim_write,
	.precopy_info = sim_precopy_info,
};
