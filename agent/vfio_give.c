// SPDX-License-Identifier: Apache-2.0
// All devices of a VM, opened for its VMM: one container or one iommufd for all, so that the VMM maps its RAM once.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "agent/vfio.h"

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

// Devices before groups, groups before the container, as whoever opened them singly would.
void ls_gift_close(struct ls_gift *g)
{
	for (unsigned i = 0; i < g->n; i++)
		close_fd(g->at[i].device);
	for (unsigned i = 0; i < g->n; i++)
		close_fd(g->at[i].group);
	close_fd(g->shared);
	*g = LS_GIFT_NONE;
}

// A group is opened once (K1); a second device of it gets a dup. -1: nobody before `i` is of that group.
static int dup_of_group(const char *const *path, unsigned i, const struct ls_gift *g)
{
	char mine[64], other[64];
	if (ls_vfio_group_of(path[i], mine, sizeof(mine), NULL) < 0)
		return -1;
	for (unsigned k = 0; k < i; k++)
		if (ls_vfio_group_of(path[k], other, sizeof(other), NULL) == 0 && strcmp(mine, other) == 0)
			return fcntl(g->at[k].group, F_DUPFD_CLOEXEC, 0);
	return -1;
}

static int open_one(const char *const *path, unsigned i, struct ls_gift *g, struct ls_error *err)
{
	if (g->way == LS_GIFT_FILE)
		return ls_vfio_bind_file(path[i], g->shared, &g->at[i].device, err);
	g->at[i].group = dup_of_group(path, i, g);
	return ls_vfio_enter_group(path[i], g->shared, i == 0, &g->at[i].group, &g->at[i].device, err);
}

int ls_vfio_open_gift(const char *const *path, unsigned n, enum ls_gift_way way, struct ls_gift *ret,
		      struct ls_error *err)
{
	*ret = LS_GIFT_NONE;
	ret->way = way == LS_GIFT_GROUP ? LS_GIFT_GROUP : LS_GIFT_FILE;
	for (unsigned i = 0; i < n; i++) {
		ret->at[i].device = ret->at[i].group = -1;
		if (way == LS_GIFT_ANY && !ls_vfio_has_file(path[i]))
			ret->way = LS_GIFT_GROUP; // they share one IOMMU, so they go one way
	}
	int r = ret->way == LS_GIFT_FILE ? ls_vfio_open_iommufd(&ret->shared, err)
					 : ls_vfio_open_container(&ret->shared, err);
	for (unsigned i = 0; i < n && r == 0; i++) {
		ret->n++;
		r = open_one(path, i, ret, err);
	}
	if (r < 0)
		ls_gift_close(ret);
	return r;
}
