// SPDX-License-Identifier: Apache-2.0
// What sysfs tells of a device without opening it, and the migration_version attributes (K8).
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/vfio.h"

// migration_version is at most this long (K8); whatever is longer is not one.
#define ATTRIBUTE_MAX 4096

// The attribute's text without the newline at its end; its length or negative errno.
static ssize_t read_attribute(const char *dir, const char *name, char *buf, size_t size)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n;
	do
		n = read(fd, buf, size - 1);
	while (n < 0 && errno == EINTR);
	int error = errno;
	close(fd);
	if (n < 0)
		return -error;
	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
		n--;
	buf[n] = 0;
	return n;
}

// The last part of what the link points to: the name of a driver or of a type.
static int link_name(const char *dir, const char *name, char *buf, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	snprintf(buf, size, "%.*s", (int)size - 1, basename(target));
	return 0;
}

static unsigned read_hex(const char *dir, const char *name)
{
	char text[32];
	if (read_attribute(dir, name, text, sizeof(text)) <= 0)
		return 0;
	return (unsigned)strtoul(text, NULL, 16);
}

static int read_numa_node(const char *dir)
{
	char text[32];
	if (read_attribute(dir, "numa_node", text, sizeof(text)) <= 0)
		return -1;
	return (int)strtol(text, NULL, 10);
}

// A mediated device's parent is the directory above the device's own; "" if there is none.
static void parent_of(const char *path, char ret[PATH_MAX])
{
	ret[0] = 0;
	if (!realpath(path, ret)) {
		ret[0] = 0;
		return;
	}
	char *slash = strrchr(ret, '/');
	if (slash && slash != ret)
		*slash = 0;
}

static bool exists(const char *dir, const char *name)
{
	char path[PATH_MAX];
	return snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) && access(path, F_OK) == 0;
}

int ls_vfio_inspect(const char *path, struct ls_dev_info *info, struct ls_error *err)
{
	char parent[PATH_MAX];
	memset(info, 0, sizeof(*info));
	info->numa_node = -1;
	if (access(path, F_OK) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		return ls_fail(err, LS_E_PERMISSION, errno, "cannot look at %s", path);
	}
	bool mdev = exists(path, "mdev_type");
	link_name(path, "driver", info->driver, sizeof(info->driver));
	if (mdev) {
		link_name(path, "mdev_type", info->type, sizeof(info->type));
	} else if (exists(path, "vendor")) {
		snprintf(info->type, sizeof(info->type), "%04x:%04x:%04x:%04x:%02x", read_hex(path, "vendor") & 0xffff,
			 read_hex(path, "device") & 0xffff, read_hex(path, "subsystem_vendor") & 0xffff,
			 read_hex(path, "subsystem_device") & 0xffff, read_hex(path, "revision") & 0xff);
	}
	info->present = exists(path, "iommu_group") || exists(path, "vfio-dev");
	info->numa_node = read_numa_node(path);
	if (info->numa_node < 0 && mdev) {
		parent_of(path, parent);
		info->numa_node = read_numa_node(parent);
	}
	char version[ATTRIBUTE_MAX + 2];
	ssize_t n = read_attribute(path, "migration_version", version, sizeof(version));
	// A version that does not fit cannot be carried, and counts as none: incompatible rather than cut.
	if (n > 0 && (size_t)n < sizeof(info->version))
		memcpy(info->version, version, (size_t)n + 1);
	return 0;
}

// 1 compatible, 0 no such attribute, negative errno.
static int write_version(const char *dir, const char *rest, const char *version, char *where, size_t where_size)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", dir, rest) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	snprintf(where, where_size, "%s", path);
	if (fd < 0)
		return -errno;
	size_t len = strlen(version);
	ssize_t n;
	do
		n = write(fd, version, len);
	while (n < 0 && errno == EINTR);
	int r = n < 0 ? -errno : (size_t)n == len ? 1 : -EIO;
	close(fd);
	return r;
}

// 1 compatible, 0 `dir` offers none for this type, negative errno.
static int ask_type(const char *dir, const char *type, const char *version, char *where, size_t where_size)
{
	static const char *const forms[] = {"migration_version/%s", "mdev_supported_types/%s/migration_version"};
	char rest[256];
	for (size_t f = 0; f < 2; f++) {
		if (snprintf(rest, sizeof(rest), forms[f], type) >= (int)sizeof(rest))
			continue;
		int r = write_version(dir, rest, version, where, where_size);
		if (r != 0)
			return r;
	}
	return 0;
}

// A mediated device that is not there yet: every parent that could make one is asked, and one that refuses decides.
static int ask_parents(const char *path, const char *type, const char *version, char *where, size_t where_size)
{
	const char *bus = strstr(path, "/bus/mdev/devices/");
	char dir[PATH_MAX], parent[PATH_MAX];
	int verdict = 0;
	if (!bus || snprintf(dir, sizeof(dir), "%.*s/class/mdev_bus", (int)(bus - path), path) >= (int)sizeof(dir))
		return 0;
	DIR *d = opendir(dir);
	for (struct dirent *e; d && verdict >= 0 && (e = readdir(d));) {
		if (e->d_name[0] == '.' ||
		    snprintf(parent, sizeof(parent), "%s/%s", dir, e->d_name) >= (int)sizeof(parent))
			continue;
		int r = ask_type(parent, type, version, where, where_size);
		verdict = r != 0 ? r : verdict;
	}
	if (d)
		closedir(d);
	return verdict;
}

int ls_vfio_check_version(const char *path, const char *type, const char *version, char *where, size_t where_size)
{
	char parent[PATH_MAX];
	if (where_size > 0)
		where[0] = 0;
	if (!*version || strlen(version) > ATTRIBUTE_MAX || !*type || strchr(type, '/') || *type == '.')
		return -EINVAL;
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return ask_parents(path, type, version, where, where_size);
	// Its own attribute knows more than the type's: how much memory this one has. A parent has a directory of that
	// name.
	int r = write_version(path, "migration_version", version, where, where_size);
	if (r != 0 && r != -EISDIR)
		return r;
	if (where_size > 0)
		where[0] = 0;
	// The path may itself be a parent.
	r = ask_type(path, type, version, where, where_size);
	parent_of(path, parent);
	return r == 0 && parent[0] ? ask_type(parent, type, version, where, where_size) : r;
}
