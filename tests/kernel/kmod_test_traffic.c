// SPDX-License-Identifier: Apache-2.0
/* What the devices do to each other, to RAM and to the host. */
#include <sys/syscall.h>

#include "kmod_test.h"

bool test_traffic_flows_and_every_write_arrives(void)
{
	uint64_t last;
	uint8_t word[8];

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 50) && irq_wait(&b, 50));
	CHECK(both_to(LSM_RUNNING_P2P));
	CHECK(no_loss(&b, 0, &a, 1));
	CHECK(no_loss(&a, 1, &b, 0));
	last = reg64(&a, LSM_REG_TX_SEQ + 8) - 1;
	CHECK(last >= 50);
	CHECK_EQ(window(&b, (unsigned)a.index * LSM_PAGE_SIZE, word, 8, false), 0);
	CHECK_EQ(lsm_get64(word), last);
	CHECK_EQ(reg32(&a, LSM_REG_ERRORS), 0);
	return true;
}

bool test_interrupts_and_dma_are_counted_alike_on_both_sides(void)
{
	uint64_t stamp, got = 0, n = 50;
	uint32_t raised;

	CHECK(fresh_pair());
	traffic(&a, 1);
	CHECK(irq_wait(&a, n));
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	/* irq_wait() may have read more than it was asked for: compare differences. */
	while (read(a.irq[0], &got, 8) == 8)
		;
	raised = reg32(&a, LSM_REG_IRQ_COUNT);
	stamp = reg64(&a, LSM_REG_STAMP);
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), 0);
	CHECK(irq_wait(&a, 1));
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK(reg32(&a, LSM_REG_IRQ_COUNT) > raised);
	CHECK(reg64(&a, LSM_REG_STAMP) > stamp);
	/* RAM holds the newest stamp, or the one before when FILL took the newest. */
	stamp = reg64(&a, LSM_REG_STAMP) - lsm_get64(vm.ram + VM_DATA(a.index));
	CHECK(stamp == 1 || stamp == 2);
	return true;
}

bool test_quiet_in_stop_and_no_write_heard(void)
{
	uint8_t before[64], *ram = vm.ram + VM_DATA(a.index);
	uint64_t tx;
	long dropped;

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 20) && irq_wait(&b, 20));
	CHECK_EQ(set_state(&a, LSM_STOP, NULL), 0);
	dropped = vdev_counter(&a, "rx_dropped ");
	while (read(a.irq[0], &tx, 8) == 8)
		;
	while (read(b.irq[0], &tx, 8) == 8)
		;
	memcpy(before, ram, sizeof(before));
	CHECK(irq_wait(&b, 40));
	CHECK(vdev_counter(&a, "rx_dropped ") > dropped);
	CHECK(!memcmp(before, ram, sizeof(before)));
	CHECK(read(a.irq[0], &tx, 8) < 0);
	CHECK_EQ(reg64(&a, LSM_REG_RX_SEQ + 8), 0);
	CHECK_EQ(set32(&a, LSM_REG_CTRL, 0), 0);
	CHECK_EQ(config_read16(&a, 0), LSM_PCI_VENDOR);
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(reg32(&a, LSM_REG_CTRL), LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC);
	return true;
}

/* What the project exists for: b stops while a still writes. */
bool test_stopping_a_peer_early_loses_writes_and_shows_the_first(void)
{
	uint64_t expected;

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 20) && irq_wait(&b, 20));
	CHECK_EQ(set_state(&b, LSM_STOP, NULL), 0);
	CHECK(irq_wait(&a, 40));
	CHECK(vdev_counter(&b, "rx_dropped ") > 0);
	CHECK_EQ(set_state(&b, LSM_RUNNING_P2P, NULL), 0);
	CHECK(irq_wait(&a, 40));
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(set_state(&b, LSM_RUNNING_P2P, NULL), 0);
	expected = reg64(&b, LSM_REG_RX_GAP);
	CHECK(expected > 0 && expected < reg64(&b, LSM_REG_RX_SEQ));
	CHECK_EQ(reg64(&b, LSM_REG_RX_OOO), 1);
	return true;
}

bool test_suspend_waits_for_what_is_outstanding(void)
{
	CHECK(fresh_pair());
	ring_desc(&vm, &a, 0, LSM_OP_P2P_WRITE, LSM_DESC_IRQ, 1, 64, 0);
	CHECK(vdev_debug(&a, "transfer_ms", "200"));
	ring_start(&a, 1);
	while (reg64(&a, LSM_REG_TX_SEQ + 8) == 1)
		;
	/* The first write has its number and is on its way. */
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK_EQ(reg32(&a, LSM_REG_STATUS), 0);
	CHECK_EQ(reg64(&b, LSM_REG_RX_COUNT), 1);
	CHECK(irq_wait(&a, 1));
	CHECK(no_loss(&b, 0, &a, 1));
	CHECK(vdev_debug(&a, "transfer_ms", "0"));
	return true;
}

bool test_barriers_lose_nothing_however_often(void)
{
	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	for (int i = 0; i < 20; i++) {
		CHECK(irq_wait(&a, 10) && irq_wait(&b, 10));
		CHECK(both_to(LSM_RUNNING_P2P));
		CHECK(both_to(LSM_STOP));
		CHECK(both_to(LSM_STOP_COPY));
		CHECK(both_to(LSM_RUNNING_P2P));
		CHECK(no_loss(&b, 0, &a, 1) && no_loss(&a, 1, &b, 0));
		CHECK(both_to(LSM_RUNNING));
	}
	return true;
}

bool test_without_bus_master_nothing_moves_and_bars_need_the_memory_bit(void)
{
	uint64_t done;

	CHECK(fresh_pair());
	traffic(&a, 1);
	traffic(&b, 0);
	CHECK(irq_wait(&a, 5));
	CHECK_EQ(config_write16(&a, 4, 2), 0);
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	while (read(a.irq[0], &(uint64_t){ 0 }, 8) == 8)
		;
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), 0);
	done = reg64(&a, LSM_REG_DONE);
	/* Time enough, by the other's clock from now on; on a busy machine one emulated CPU may stand still beside the other. */
	while (read(b.irq[0], &(uint64_t){ 0 }, 8) == 8)
		;
	CHECK(irq_wait(&b, 1000));
	CHECK_EQ(reg64(&a, LSM_REG_DONE), done);
	CHECK_EQ(set_state(&a, LSM_RUNNING_P2P, NULL), 0);
	CHECK(read(a.irq[0], &(uint64_t){ 0 }, 8) < 0);
	CHECK_EQ(config_write16(&a, 4, 0), 0);
	CHECK_EQ(set32(&a, LSM_REG_CTRL, 0), -EIO);
	CHECK_EQ(config_write16(&a, 4, 6), 0);
	CHECK_EQ(set_state(&a, LSM_RUNNING, NULL), 0);
	CHECK(irq_wait(&a, 5));
	return true;
}

bool test_fabric_and_slot_are_the_hosts(void)
{
	struct vdev c, d;

	CHECK(!vdev_attr(&a, "lockstep/slot", "3") && errno == EBUSY);
	CHECK(!vdev_attr(&a, "lockstep/memory_mib", "8") && errno == EBUSY);
	CHECK(vdev_create(&c, "p2p", 3, 1, 0));
	CHECK(!vdev_open(&vm, &c) && errno == EBUSY);
	vdev_close(&c);
	CHECK(vdev_attr(&c, "lockstep/fabric", "2"));
	CHECK(vdev_open(&vm, &c) && vdev_start(&c));
	CHECK_EQ(reg32(&c, LSM_REG_SLOT), 0);
	CHECK(vdev_create(&d, "stopcopy", 4, -1 + 1, -1));
	CHECK(vdev_attr(&d, "lockstep/memory_mib", "64"));
	CHECK(!vdev_attr(&d, "lockstep/memory_mib", "65"));
	CHECK(vdev_open(&vm, &d) && vdev_start(&d));
	CHECK_EQ(reg32(&d, LSM_REG_MEM_SIZE), 64 << 20);
	CHECK_EQ((uint32_t)reg32(&d, LSM_REG_SLOT), LSM_NO_SLOT);
	/* Slot 1 of fabric 1 is b; on fabric 2 nobody answers. */
	ring_desc(&vm, &c, 0, LSM_OP_P2P_WRITE, LSM_DESC_COMPLETE | LSM_DESC_IRQ, 1, 64, 0);
	ring_start(&c, 1);
	CHECK(irq_wait(&c, 1));
	CHECK_EQ(lsm_get32(vm.ram + VM_COMP(3) + 4), LSM_NO_PEER);
	vdev_close(&c);
	vdev_close(&d);
	CHECK(vdev_remove(&c) && vdev_remove(&d));
	return true;
}

bool test_unreadable_ring_halts_and_reopening_starts_as_new(void)
{
	struct vdev c;

	CHECK(vdev_create(&c, "stopcopy", 5, 1, 5));
	CHECK(vdev_open(&vm, &c) && vdev_start(&c));
	set64(&c, LSM_REG_RING_BASE, 1ull << 40);
	set32(&c, LSM_REG_RING_SIZE, 4);
	set32(&c, LSM_REG_CTRL, 3);
	for (double end = seconds() + 10; seconds() < end && !(reg32(&c, LSM_REG_STATUS) & LSM_STATUS_HALTED);)
		;
	CHECK(reg32(&c, LSM_REG_STATUS) & LSM_STATUS_HALTED);
	CHECK_EQ(set_state(&c, LSM_STOP_COPY, NULL), 0);
	vdev_close(&c);
	CHECK(vdev_open(&vm, &c));
	CHECK_EQ(get_state(&c), LSM_RUNNING);
	CHECK(vdev_debug(&c, "quirks", "1"));
	CHECK_EQ(set_state(&c, LSM_STOP, NULL), 0);
	vdev_close(&c);
	CHECK(vdev_open(&vm, &c));
	CHECK_EQ(get_state(&c), LSM_STOP);
	vdev_close(&c);
	/* Of another size it is another device. */
	CHECK(vdev_attr(&c, "lockstep/memory_mib", "2"));
	CHECK(vdev_open(&vm, &c));
	CHECK_EQ(get_state(&c), LSM_RUNNING);
	vdev_close(&c);
	CHECK(vdev_remove(&c));
	return true;
}

bool test_everything_goes_away(void)
{
	vdev_close(&a);
	vdev_close(&b);
	CHECK(vdev_remove(&a) && vdev_remove(&b));
	CHECK(!syscall(SYS_delete_module, "lockstep_vdev", O_NONBLOCK));
	return true;
}
