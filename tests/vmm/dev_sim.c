// SPDX-License-Identifier: Apache-2.0
// Devices of a simulated host (lockstep-simhost).
#include <errno.h>
#include <unistd.h>

#include "agent/sim/sim_client.h"
#include "tests/vmm/device.h"

static const enum ls_sim_region sim_region[TV_REGIONS] = {
	[TV_BAR0] = LS_SIM_BAR0, [TV_BAR2] = LS_SIM_BAR2, [TV_CONFIG] = LS_SIM_CONFIG,
};

static int sim_open(struct tv_bus *bus, struct tv_device *dev, struct ls_error *err)
{
	int fd = ls_sim_open(bus->host, dev->path);

	if (fd < 0)
		return ls_fail(err, fd == -EBUSY ? LS_E_DEVICE_BUSY : LS_E_DEVICE_ABSENT, -fd,
			       "cannot open %s of the simulated host at %s", dev->path, bus->host);
	dev->fd = fd;
	return 0;
}

static int sim_map(struct tv_bus *bus, int memfd, void *ram, uint64_t iova, uint64_t size, struct ls_error *err)
{
	for (unsigned i = 0; i < bus->n; i++) {
		int r = ls_sim_dma_map(bus->dev[i].fd, memfd, 0, iova, size);

		if (r < 0) {
			ls_fail(err, LS_E_RESOURCE, -r, "cannot map RAM for DMA");
			ls_error_at(err, bus->dev[i].name, NULL);
			return r;
		}
	}
	return 0;
}

static int sim_read(struct tv_device *dev, enum tv_region region, uint64_t offset, void *buf, size_t len)
{
	return ls_sim_region_read(dev->fd, sim_region[region], offset, buf, len);
}

static int sim_write(struct tv_device *dev, enum tv_region region, uint64_t offset, const void *buf, size_t len)
{
	return ls_sim_region_write(dev->fd, sim_region[region], offset, buf, len);
}

static int sim_set_irqs(struct tv_device *dev)
{
	for (unsigned v = 0; v < LSM_VECTORS; v++) {
		int r = ls_sim_set_irq(dev->fd, v, dev->irq[v]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int sim_reset(struct tv_device *dev)
{
	return ls_sim_reset(dev->fd);
}

static void sim_close(struct tv_bus *bus)
{
	for (unsigned i = 0; i < bus->n; i++) {
		if (bus->dev[i].fd >= 0)
			close(bus->dev[i].fd);
		bus->dev[i].fd = -1;
	}
}

const struct tv_backend tv_backend_sim = {
	.name = "sim",
	.open = sim_open,
	.map = sim_map,
	.read = sim_read,
	.write = sim_write,
	.set_irqs = sim_set_irqs,
	.reset = sim_reset,
	.close = sim_close,
};
