// SPDX-License-Identifier: Apache-2.0
// PCI config space: a type 0 header with two BARs and an MSI capability of eight 64-bit vectors.
#include <errno.h>
#include <string.h>

#include "agent/sim/simhost.h"

#define CFG_COMMAND 0x04
#define CFG_COMMAND_MEMORY 0x2
#define CFG_COMMAND_MASTER 0x4
#define CFG_MSI 0x40

static void put16(uint8_t *p, unsigned v)
{
	p[0] = v & 0xff;
	p[1] = v >> 8 & 0xff;
}

void sim_config_reset(struct sim_dev *d)
{
	uint8_t *c = d->config;
	memset(c, 0, sizeof(d->config));
	put16(c + 0x00, LSM_PCI_VENDOR);
	put16(c + 0x02, d->info->pci_device);
	put16(c + 0x06, 0x10); // there is a capability list
	c[0x08] = LSM_PCI_REVISION;
	c[0x0a] = 0x80; // class: other system peripheral
	c[0x0b] = 0x08;
	put16(c + 0x2c, LSM_PCI_VENDOR);
	put16(c + 0x2e, d->info->type);
	c[0x34] = CFG_MSI;
	c[CFG_MSI] = 0x05;
	put16(c + CFG_MSI + 2, 0x0080 | 3 << 1); // 64-bit addresses, 2^3 vectors
}

// The bits of byte `off` that a guest can change.
static uint8_t writable(const struct sim_dev *d, unsigned off)
{
	uint32_t bar2 = LSM_MEM_MIN;
	while (bar2 < d->model.mem_size)
		bar2 <<= 1;
	bar2 = ~(bar2 - 1);
	switch (off) {
	case CFG_COMMAND:
		return CFG_COMMAND_MEMORY | CFG_COMMAND_MASTER;
	case CFG_COMMAND + 1:
		return 0x04; // INTx disable
	case 0x11: // BAR0, 4 KiB
		return 0xf0;
	case 0x12:
	case 0x13:
		return 0xff;
	case 0x18 ... 0x1b:
		return bar2 >> (off - 0x18) * 8 & 0xff;
	case 0x3c: // interrupt line
		return 0xff;
	case CFG_MSI + 2:
		return 0x71; // enable, number of vectors
	case CFG_MSI + 4:
		return 0xfc;
	case CFG_MSI + 5 ... CFG_MSI + 13:
		return 0xff;
	default:
		return 0;
	}
}

static int check(uint64_t off, uint64_t len)
{
	return len == 0 || len > SIM_CONFIG_SIZE || off > SIM_CONFIG_SIZE - len ? -EINVAL : 0;
}

int sim_config_read(struct sim_dev *d, uint64_t off, void *buf, uint64_t len)
{
	if (check(off, len) < 0)
		return -EINVAL;
	memcpy(buf, d->config + off, len);
	return 0;
}

int sim_config_write(struct sim_dev *d, uint64_t off, const void *buf, uint64_t len)
{
	if (check(off, len) < 0)
		return -EINVAL;
	const uint8_t *from = buf;
	for (uint64_t i = 0; i < len; i++) {
		uint8_t mask = writable(d, (unsigned)(off + i));
		uint8_t *to = &d->config[off + i];
		*to = (uint8_t)((*to & ~mask) | (from[i] & mask));
	}
	uint8_t command = d->config[CFG_COMMAND];
	lsm_dev_set_command(&d->model, command & CFG_COMMAND_MEMORY, command & CFG_COMMAND_MASTER);
	return 0;
}
