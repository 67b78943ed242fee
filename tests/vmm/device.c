// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/config.h"

void tv_bus_init(struct tv_bus *bus, const struct tv_backend *backend, const char *host)
{
	memset(bus, 0, sizeof(*bus));
	bus->backend = backend;
	bus->host = host;
	bus->container = -1;
	for (unsigned i = 0; i < TV_MAX_DEVICES; i++) {
		bus->dev[i].fd = -1;
		bus->dev[i].group = -1;
		for (unsigned v = 0; v < LSM_VECTORS; v++)
			bus->dev[i].irq[v] = -1;
	}
}

int tv_bus_add(struct tv_bus *bus, const char *spec, struct ls_error *err)
{
	struct tv_device *dev = &bus->dev[bus->n];
	const char *eq = strchr(spec, '=');

	if (bus->n == TV_MAX_DEVICES)
		return ls_fail(err, LS_E_LIMIT, E2BIG, "more than %d devices", TV_MAX_DEVICES);
	if (!eq || eq == spec || (size_t)(eq - spec) >= sizeof(dev->name) || !eq[1] ||
	    strlen(eq + 1) >= sizeof(dev->path))
		return ls_fail(err, LS_E_INVALID, EINVAL, "--device wants NAME=PATH, not %s", spec);
	snprintf(dev->name, sizeof(dev->name), "%.*s", (int)(eq - spec), spec);
	snprintf(dev->path, sizeof(dev->path), "%s", eq + 1);
	if (!ls_name_valid(dev->name))
		return ls_fail(err, LS_E_INVALID, EINVAL, "not a device name: %s", dev->name);
	if (tv_bus_find(bus, dev->name))
		return ls_fail(err, LS_E_INVALID, EEXIST, "device %s is given twice", dev->name);
	bus->n++;
	return 0;
}

static int make_irqs(struct tv_device *dev, struct ls_error *err)
{
	for (unsigned v = 0; v < LSM_VECTORS; v++) {
		dev->irq[v] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (dev->irq[v] < 0)
			return ls_fail(err, LS_E_RESOURCE, errno, "cannot make an eventfd");
	}
	return 0;
}

int tv_bus_open(struct tv_bus *bus, int memfd, void *ram, uint64_t iova, uint64_t size, struct ls_error *err)
{
	for (unsigned i = 0; i < bus->n; i++) {
		int r = bus->backend->open(bus, &bus->dev[i], err);

		if (!r)
			r = make_irqs(&bus->dev[i], err);
		if (r < 0) {
			ls_error_at(err, bus->dev[i].name, NULL);
			return r;
		}
	}
	return bus->backend->map(bus, memfd, ram, iova, size, err);
}

void tv_bus_close(struct tv_bus *bus)
{
	bus->backend->close(bus);
	for (unsigned i = 0; i < bus->n; i++)
		for (unsigned v = 0; v < LSM_VECTORS; v++) {
			if (bus->dev[i].irq[v] >= 0)
				close(bus->dev[i].irq[v]);
			bus->dev[i].irq[v] = -1;
		}
}

struct tv_device *tv_bus_find(struct tv_bus *bus, const char *name)
{
	for (unsigned i = 0; i < bus->n; i++)
		if (!strcmp(bus->dev[i].name, name))
			return &bus->dev[i];
	return NULL;
}

uint32_t tv_read32(struct tv_bus *bus, struct tv_device *dev, uint32_t reg)
{
	uint8_t b[4];

	return bus->backend->read(dev, TV_BAR0, reg, b, sizeof(b)) ? UINT32_MAX : lsm_get32(b);
}

uint64_t tv_read64(struct tv_bus *bus, struct tv_device *dev, uint32_t reg)
{
	uint8_t b[8];

	return bus->backend->read(dev, TV_BAR0, reg, b, sizeof(b)) ? UINT64_MAX : lsm_get64(b);
}

void tv_write32(struct tv_bus *bus, struct tv_device *dev, uint32_t reg, uint32_t value)
{
	uint8_t b[4];

	lsm_put32(b, value);
	(void)bus->backend->write(dev, TV_BAR0, reg, b, sizeof(b));
}

void tv_write64(struct tv_bus *bus, struct tv_device *dev, uint32_t reg, uint64_t value)
{
	uint8_t b[8];

	lsm_put64(b, value);
	(void)bus->backend->write(dev, TV_BAR0, reg, b, sizeof(b));
}
