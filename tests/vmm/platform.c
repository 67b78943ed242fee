// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/platform.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#include "common/control.h"

#define BLOB_DEVICE 0x31564544564d5654ull // "TVMVDEV1"
#define BLOB_VM     0x31304d56564d5654ull

static int config_read(struct tv_bus *bus, struct tv_device *dev, uint8_t config[TV_CONFIG_SIZE])
{
	return bus->backend->read(dev, TV_CONFIG, 0, config, TV_CONFIG_SIZE);
}

static int config_write(struct tv_bus *bus, struct tv_device *dev, unsigned at, const void *buf, size_t len)
{
	return bus->backend->write(dev, TV_CONFIG, at, buf, len);
}

// Offset of the MSI capability; 0: none.
static unsigned find_msi(const uint8_t config[TV_CONFIG_SIZE])
{
	unsigned at = config[PCI_CAPABILITY_LIST] & ~3u;

	if (!(config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return 0;
	for (unsigned n = 0; n < 48 && at >= PCI_STD_HEADER_SIZEOF && at + PCI_MSI_DATA_64 + 2 <= TV_CONFIG_SIZE; n++) {
		if (config[at] == PCI_CAP_ID_MSI)
			return at;
		at = config[at + PCI_CAP_LIST_NEXT] & ~3u;
	}
	return 0;
}

int tv_platform_boot(struct tv_bus *bus, struct tv_device *dev)
{
	uint8_t config[TV_CONFIG_SIZE];
	unsigned msi;
	int r;

	r = config_read(bus, dev, config);
	if (r)
		return r;
	msi = find_msi(config);
	if (msi) {
		uint8_t *flags = config + msi + PCI_MSI_FLAGS;

		// All the vectors that the device can have.
		*flags = (uint8_t)((*flags & ~PCI_MSI_FLAGS_QSIZE) | (*flags & PCI_MSI_FLAGS_QMASK) << 3);
		*flags |= PCI_MSI_FLAGS_ENABLE;
		r = config_write(bus, dev, msi + PCI_MSI_FLAGS, flags, 2);
	}
	config[PCI_COMMAND] |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (!r)
		r = config_write(bus, dev, PCI_COMMAND, config + PCI_COMMAND, 2);
	return r ? r : bus->backend->set_irqs(dev);
}

int tv_platform_save(struct tv_bus *bus, struct tv_device *dev, struct tv_saved_device *ret)
{
	tv_platform_drop_undelivered(dev);
	for (unsigned v = 0; v < LSM_VECTORS; v++) {
		uint64_t n;

		if (v != TV_SERVICE_VECTOR && read(dev->irq[v], &n, sizeof(n)) == (ssize_t)sizeof(n))
			dev->unread[v] += n;
		ret->unread[v] = dev->unread[v];
	}
	return config_read(bus, dev, ret->config);
}

static int restore_config(struct tv_bus *bus, struct tv_device *dev, const uint8_t config[TV_CONFIG_SIZE])
{
	uint8_t command[2] = { config[PCI_COMMAND], config[PCI_COMMAND + 1] };
	unsigned msi = find_msi(config);
	int r;

	// The guest's own registers, the command register last: nothing decodes before its address is there.
	r = config_write(bus, dev, PCI_BASE_ADDRESS_0, config + PCI_BASE_ADDRESS_0, 24);
	if (!r)
		r = config_write(bus, dev, PCI_INTERRUPT_LINE, config + PCI_INTERRUPT_LINE, 1);
	if (!r && msi) {
		unsigned len = config[msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT ? 10 : 6;

		r = config_write(bus, dev, msi + PCI_MSI_ADDRESS_LO, config + msi + PCI_MSI_ADDRESS_LO, len);
		if (!r)
			r = config_write(bus, dev, msi + PCI_MSI_FLAGS, config + msi + PCI_MSI_FLAGS, 2);
	}
	if (ls_control("forget-bus-master"))
		command[0] &= (uint8_t)~PCI_COMMAND_MASTER;
	return r ? r : config_write(bus, dev, PCI_COMMAND, command, sizeof(command));
}

int tv_platform_restore(struct tv_bus *bus, struct tv_device *dev, const struct tv_saved_device *saved)
{
	int r = bus->backend->set_irqs(dev);

	if (!r)
		r = restore_config(bus, dev, saved->config);
	if (r)
		return r;
	// What an earlier attempt, given up, may have left behind.
	for (unsigned v = 0; v < LSM_VECTORS; v++) {
		uint64_t n;

		(void)!read(dev->irq[v], &n, sizeof(n));
	}
	memcpy(dev->unread, saved->unread, sizeof(dev->unread));
	return 0;
}

void tv_platform_drop_undelivered(struct tv_device *dev)
{
	uint64_t n;

	(void)!read(dev->irq[TV_SERVICE_VECTOR], &n, sizeof(n));
	dev->unread[TV_SERVICE_VECTOR] = 0;
}

void tv_platform_signal(struct tv_device *dev)
{
	uint64_t one = 1;

	for (unsigned v = 0; v < LSM_VECTORS; v++)
		(void)!write(dev->irq[v], &one, sizeof(one));
}

// ---- blobs: 64-bit little-endian words, kind first ----

size_t tv_blob_device(const struct tv_saved_device *saved, uint8_t out[TV_BLOB_MAX])
{
	lsm_put64(out, BLOB_DEVICE);
	for (unsigned v = 0; v < LSM_VECTORS; v++)
		lsm_put64(out + 8 + 8 * v, saved->unread[v]);
	memcpy(out + 8 + 8 * LSM_VECTORS, saved->config, TV_CONFIG_SIZE);
	return 8 + 8 * LSM_VECTORS + TV_CONFIG_SIZE;
}

int tv_blob_read_device(const void *blob, size_t len, struct tv_saved_device *ret)
{
	const uint8_t *b = blob;

	if (len != 8 + 8 * LSM_VECTORS + TV_CONFIG_SIZE || lsm_get64(b) != BLOB_DEVICE)
		return -EBADMSG;
	for (unsigned v = 0; v < LSM_VECTORS; v++)
		ret->unread[v] = lsm_get64(b + 8 + 8 * v);
	memcpy(ret->config, b + 8 + 8 * LSM_VECTORS, TV_CONFIG_SIZE);
	return 0;
}

size_t tv_blob_vm(const struct tv_saved_vm *saved, uint8_t out[TV_BLOB_MAX])
{
	lsm_put64(out, BLOB_VM);
	lsm_put64(out + 8, saved->ram_size);
	lsm_put64(out + 16, saved->resumes);
	return 24;
}

int tv_blob_read_vm(const void *blob, size_t len, struct tv_saved_vm *ret)
{
	const uint8_t *b = blob;

	if (len != 24 || lsm_get64(b) != BLOB_VM)
		return -EBADMSG;
	ret->ram_size = lsm_get64(b + 8);
	ret->resumes = lsm_get64(b + 16);
	return 0;
}
