// SPDX-License-Identifier: GPL-2.0-only
/* PCI config space: a type 0 header and an MSI capability. */
#include <linux/pci.h>

#include "lsv.h"

#define MSI_CAP		0x40

void lsv_config_init(struct lsv_vf *vf)
{
	u8 *c = vf->config;

	memset(c, 0, LSV_CONFIG_SIZE);
	put_unaligned_le16(LSM_PCI_VENDOR, c + PCI_VENDOR_ID);
	put_unaligned_le16(vf->info->pci_device, c + PCI_DEVICE_ID);
	put_unaligned_le16(PCI_STATUS_CAP_LIST, c + PCI_STATUS);
	c[PCI_REVISION_ID] = LSM_PCI_REVISION;
	put_unaligned_le16(PCI_CLASS_SYSTEM_OTHER, c + PCI_CLASS_DEVICE);
	put_unaligned_le32(PCI_BASE_ADDRESS_MEM_PREFETCH, c + PCI_BASE_ADDRESS_2);
	put_unaligned_le16(LSM_PCI_VENDOR, c + PCI_SUBSYSTEM_VENDOR_ID);
	put_unaligned_le16(vf->info->type, c + PCI_SUBSYSTEM_ID);
	c[PCI_CAPABILITY_LIST] = MSI_CAP;
	c[MSI_CAP] = PCI_CAP_ID_MSI;
	put_unaligned_le16(PCI_MSI_FLAGS_64BIT | ilog2(LSM_VECTORS) << 1,
			   c + MSI_CAP + PCI_MSI_FLAGS);
	lsm_dev_set_command(&vf->model, false, false);
}

/* Which bits of the aligned word at off can be written. */
static u32 writable(const struct lsv_vf *vf, u32 off)
{
	switch (off) {
	case PCI_COMMAND:
		return PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
	case PCI_CACHE_LINE_SIZE:
		return 0xffff;		/* and the latency timer */
	case PCI_BASE_ADDRESS_0:
		return ~(LSM_BAR0_SIZE - 1);
	case PCI_BASE_ADDRESS_2:
		return ~(vf->model.mem_size - 1);
	case PCI_INTERRUPT_LINE:
		return 0xff;
	case MSI_CAP:
		return (PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE) << 16;
	case MSI_CAP + PCI_MSI_ADDRESS_LO:
		return ~3u;
	case MSI_CAP + PCI_MSI_ADDRESS_HI:
		return ~0u;
	case MSI_CAP + PCI_MSI_DATA_64:
		return 0xffff;
	default:
		return 0;
	}
}

void lsv_config_write(struct lsv_vf *vf, u32 off, const u8 *buf, u32 len)
{
	u16 command;
	u32 i;

	for (i = 0; i < len; i++) {
		u32 at = off + i;
		u8 mask = writable(vf, at & ~3u) >> (8 * (at & 3));

		vf->config[at] = (vf->config[at] & ~mask) | (buf[i] & mask);
	}
	command = get_unaligned_le16(vf->config + PCI_COMMAND);
	lsm_dev_set_command(&vf->model, command & PCI_COMMAND_MEMORY,
			    command & PCI_COMMAND_MASTER);
}
