// SPDX-License-Identifier: Apache-2.0
// Simulated devices under way: they write to each other, to RAM and interrupt, and their windows are read and written.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/sim/sim_client.h"
#include "common/fsm.h"
#include "kmod/model/lsm.h"
#include "tests/unit/simhost_fixture.h"

static struct simhost host;

static const char devices[] = "[device c]\ntype = full\nslot = 2\nmemory = 2M\nrate = 0\n"
			      "[device d]\ntype = full\nslot = 3\nmemory = 2M\nrate = 0\n";

static void put(int fd, uint64_t reg, uint64_t v, size_t len)
{
	assert_int_equal(ls_sim_region_write(fd, LS_SIM_BAR0, reg, &v, len), 0);
}

static void peers_write_to_each_other_and_to_ram_and_interrupt(void **state)
{
	const size_t size = 1 << 20;
	int fd = simhost_open(&host, "c"), peer = simhost_open(&host, "d"), irq = eventfd(0, EFD_CLOEXEC);
	int memfd = memfd_create("ram", MFD_CLOEXEC);
	uint8_t command = 6, seen[64];
	uint64_t count = 0, value = 0;
	assert_int_equal(ftruncate(memfd, (off_t)size), 0);
	uint8_t *ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	assert_true(ram != MAP_FAILED);
	assert_int_equal(ls_sim_dma_map(fd, memfd, 0, 0x100000, size), 0);
	assert_int_equal(ls_sim_dma_map(fd, memfd, 0, 0x180000, 4096), -EEXIST);
	assert_int_equal(ls_sim_dma_map(fd, memfd, 4096, 0x1000000, size), -EINVAL);
	assert_int_equal(ls_sim_set_irq(fd, 1, irq), 0);
	assert_int_equal(ls_sim_set_irq(fd, LSM_VECTORS, irq), -EINVAL);
	assert_int_equal(ls_sim_region_write(fd, LS_SIM_CONFIG, 4, &command, 1), 0);
	assert_int_equal(ls_sim_region_write(peer, LS_SIM_CONFIG, 4, &command, 1), 0);
	lsm_desc_put(ram, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, 0, 3, 64, 0, 0, 128, 0);
	lsm_desc_put(ram + 32, LSM_OP_DMA_WRITE, LSM_DESC_STAMP | LSM_DESC_IRQ, 1, 0, 64, 0x108000, 0, 0, 0);
	put(fd, LSM_REG_RING_BASE, 0x100000, 8);
	put(fd, LSM_REG_RING_SIZE, 2, 4);
	put(fd, LSM_REG_CTRL, LSM_CTRL_ENABLE, 4);
	put(fd, LSM_REG_DOORBELL, 2, 4);
	assert_int_equal(read(irq, &count, 8), 8);
	assert_int_equal(count, 1);
	assert_int_equal(lsm_get64(ram + 0x8000), 1);
	assert_int_equal(ls_sim_region_read(peer, LS_SIM_BAR2, 128, seen, sizeof(seen)), 0);
	assert_int_equal(lsm_get64(seen), 1);
	assert_int_equal(ls_sim_region_read(peer, LS_SIM_BAR0, LSM_REG_RX_COUNT + 2 * 8, &value, 8), 0);
	assert_int_equal(value, 1);
	munmap(ram, size);
	close(memfd);
	close(irq);
	simhost_close(&host, fd, "c");
	simhost_close(&host, peer, "d");
}

static uint64_t reg(int fd, uint64_t at)
{
	uint64_t v = 0;
	assert_int_equal(ls_sim_region_read(fd, LS_SIM_BAR0, at, &v, 8), 0);
	return v;
}

// Writes to its peer without pause. Answers the device's RAM, to be closed.
static int set_writing(int fd, unsigned peer)
{
	const uint8_t command = 6;
	uint8_t desc[LSM_DESC_SIZE];
	int memfd = memfd_create("ring", MFD_CLOEXEC);
	lsm_desc_put(desc, LSM_OP_P2P_WRITE, LSM_DESC_STAMP, 0, peer, 64, 0, 0, 128, 0);
	assert_int_equal(ftruncate(memfd, 4096), 0);
	assert_int_equal(pwrite(memfd, desc, sizeof(desc), 0), sizeof(desc));
	assert_int_equal(ls_sim_dma_map(fd, memfd, 0, 0x100000, 4096), 0);
	assert_int_equal(ls_sim_region_write(fd, LS_SIM_CONFIG, 4, &command, 1), 0);
	put(fd, LSM_REG_RING_BASE, 0x100000, 8);
	put(fd, LSM_REG_RING_SIZE, 1, 4);
	return memfd;
}

static void a_map_that_is_gone_is_not_written(void **state)
{
	int fd = simhost_open(&host, "c");
	int memfd = set_writing(fd, 3);
	uint32_t errors = 0, why = 0;
	assert_int_equal(ls_sim_dma_unmap(fd, 0x100000, 8192), -ENOENT);
	assert_int_equal(ls_sim_dma_unmap(fd, 0x101000, 4096), -ENOENT);
	assert_int_equal(ls_sim_dma_unmap(fd, 0x100000, 4096), 0);
	assert_int_equal(ls_sim_dma_unmap(fd, 0x100000, 4096), -ENOENT);
	put(fd, LSM_REG_CTRL, LSM_CTRL_ENABLE, 4);
	put(fd, LSM_REG_DOORBELL, 1, 4); // the descriptor lies where nothing is any more
	while (errors == 0)
		assert_int_equal(ls_sim_region_read(fd, LS_SIM_BAR0, LSM_REG_ERRORS, &errors, 4), 0);
	assert_int_equal(ls_sim_region_read(fd, LS_SIM_BAR0, LSM_REG_LAST_ERROR, &why, 4), 0);
	assert_int_equal(why, LSM_DMA_FAULT);
	assert_int_equal(ls_sim_dma_map(fd, memfd, 0, 0x100000, 4096), 0);
	close(memfd);
	simhost_close(&host, fd, "c");
}

static void wait_for_writes(int fd, unsigned from, uint64_t more)
{
	uint64_t until = reg(fd, LSM_REG_RX_COUNT + from * 8) + more;
	while (reg(fd, LSM_REG_RX_COUNT + from * 8) < until)
		;
}

static void quiet_peers_lose_nothing_and_careless_ones_do(void **state)
{
	static const int up_and_down[] = {LS_STATE_RUNNING_P2P, LS_STATE_STOP, LS_STATE_RUNNING_P2P, LS_STATE_RUNNING};
	int c = simhost_open(&host, "c"), d = simhost_open(&host, "d");
	struct ls_sim_counters before, after;
	assert_int_equal(ls_sim_counters(host.socket, "d", &before), 0);
	int c_ram = set_writing(c, 3), d_ram = set_writing(d, 2);
	put(c, LSM_REG_CTRL, LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC, 4);
	put(d, LSM_REG_CTRL, LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC, 4);
	for (int i = 0; i < 20; i++) {
		wait_for_writes(d, 2, 10);
		wait_for_writes(c, 3, 10);
		for (size_t k = 0; k < sizeof(up_and_down) / sizeof(up_and_down[0]); k++) {
			assert_int_equal(simhost_set(c, up_and_down[k]), 0);
			assert_int_equal(simhost_set(d, up_and_down[k]), 0);
		}
	}
	assert_int_equal(simhost_set(c, LS_STATE_RUNNING_P2P), 0);
	assert_int_equal(simhost_set(d, LS_STATE_RUNNING_P2P), 0);
	assert_int_equal(reg(c, LSM_REG_TX_SEQ + 3 * 8) - 1, reg(d, LSM_REG_RX_COUNT + 2 * 8));
	assert_int_equal(reg(d, LSM_REG_TX_SEQ + 2 * 8) - 1, reg(c, LSM_REG_RX_COUNT + 3 * 8));
	assert_int_equal(reg(d, LSM_REG_RX_GAP + 2 * 8), 0);
	assert_int_equal(reg(c, LSM_REG_RX_GAP + 3 * 8), 0);
	assert_int_equal(ls_sim_counters(host.socket, "d", &after), 0);
	assert_int_equal(after.rx_dropped, before.rx_dropped);
	// Without the barrier: the peer stops while its neighbour still writes.
	assert_int_equal(simhost_set(c, LS_STATE_RUNNING), 0);
	assert_int_equal(simhost_set(d, LS_STATE_STOP), 0);
	do
		assert_int_equal(ls_sim_counters(host.socket, "d", &after), 0);
	while (after.rx_dropped == before.rx_dropped);
	assert_int_equal(simhost_set(d, LS_STATE_RUNNING), 0);
	wait_for_writes(d, 2, 1);
	assert_true(reg(d, LSM_REG_RX_GAP + 2 * 8) > 0);
	close(c_ram);
	close(d_ram);
	simhost_close(&host, c, "c");
	simhost_close(&host, d, "d");
}

static void large_windows_are_read_and_written_in_one_call(void **state)
{
	int fd = simhost_open(&host, "c");
	uint8_t command = 2;
	uint8_t *out = malloc(1 << 20), *in = malloc(1 << 20);
	for (size_t i = 0; i < 1 << 20; i++)
		out[i] = (uint8_t)(i * 7 + (i >> 12));
	assert_int_equal(ls_sim_region_write(fd, LS_SIM_CONFIG, 4, &command, 1), 0);
	assert_int_equal(ls_sim_region_write(fd, LS_SIM_BAR2, 1 << 20, out, 1 << 20), 0);
	assert_int_equal(ls_sim_region_read(fd, LS_SIM_BAR2, 1 << 20, in, 1 << 20), 0);
	assert_memory_equal(in, out, 1 << 20);
	assert_int_equal(ls_sim_region_write(fd, LS_SIM_BAR2, 2 << 20, out, 1), -EINVAL);
	free(out);
	free(in);
	simhost_close(&host, fd, "c");
}

static int start(void **state)
{
	simhost_start(&host, devices);
	return 0;
}

static int stop(void **state)
{
	simhost_stop(&host);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_write_to_each_other_and_to_ram_and_interrupt),
		cmocka_unit_test(a_map_that_is_gone_is_not_written),
		cmocka_unit_test(quiet_peers_lose_nothing_and_careless_ones_do),
		cmocka_unit_test(large_windows_are_read_and_written_in_one_call),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
