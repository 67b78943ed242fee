// SPDX-License-Identifier: Apache-2.0
// What the model asks of its host: memory, DMA into the VM's RAM, interrupts, peers.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/sim/simhost.h"

static void *env_alloc(void *ctx, size_t size)
{
	return calloc(1, size);
}

static void env_free(void *ctx, void *p, size_t size)
{
	free(p);
}

static void *env_page_alloc(void *ctx)
{
	return calloc(1, LSM_PAGE_SIZE);
}

static void env_page_free(void *ctx, void *page)
{
	free(page);
}

static void env_lock(void *ctx)
{
	struct sim_dev *d = ctx;
	sim_lock(&d->lock);
}

static void env_unlock(void *ctx)
{
	struct sim_dev *d = ctx;
	sim_unlock(&d->lock);
}

// One map holds the whole range, as the IOMMU maps of a VM's RAM do. Lock: maps, for as long as it is used.
static uint8_t *map_find(struct sim_dev *d, uint64_t iova, uint32_t len)
{
	for (unsigned i = 0; i < d->n_maps; i++) {
		const struct sim_map *m = &d->map[i];
		if (iova >= m->iova && len <= m->size && iova - m->iova <= m->size - len)
			return m->base + (iova - m->iova);
	}
	return NULL;
}

static int dma(struct sim_dev *d, uint64_t iova, void *to, const void *from, uint32_t len)
{
	pthread_rwlock_rdlock(&d->maps);
	uint8_t *ram = map_find(d, iova, len);
	if (ram)
		memcpy(to ? to : ram, from ? from : ram, len);
	pthread_rwlock_unlock(&d->maps);
	return ram ? 0 : -EFAULT;
}

static int env_dma_read(void *ctx, uint64_t iova, void *buf, uint32_t len)
{
	return dma(ctx, iova, buf, NULL, len);
}

static int env_dma_write(void *ctx, uint64_t iova, const void *buf, uint32_t len)
{
	return dma(ctx, iova, NULL, buf, len);
}

static void env_irq(void *ctx, uint32_t vector)
{
	struct sim_dev *d = ctx;
	uint64_t one = 1;
	pthread_mutex_lock(&d->irqs);
	if (d->irq[vector] < 0 || write(d->irq[vector], &one, sizeof(one)) != (ssize_t)sizeof(one))
		d->irq_lost++;
	pthread_mutex_unlock(&d->irqs);
}

static int env_p2p_write(void *ctx, uint32_t to, uint32_t from, uint64_t seq, uint32_t offset, const void *buf,
			 uint32_t len)
{
	struct sim_dev *d = ctx;
	for (unsigned i = 0; i < d->host->n; i++) {
		struct sim_dev *peer = &d->host->dev[i];
		if (peer->fabric != d->fabric || !atomic_load(&peer->is_open))
			continue;
		sim_lock(&peer->lock);
		bool it = peer->model.slot == to;
		if (it && atomic_load(&peer->lose_p2p) > 0) {
			atomic_fetch_sub(&peer->lose_p2p, 1);
			sim_unlock(&peer->lock);
			return 0;
		}
		int r = it ? lsm_p2p_receive(&peer->model, from, seq, offset, buf, len) : 0;
		sim_unlock(&peer->lock);
		if (it)
			return r;
	}
	return -ENXIO;
}

const struct lsm_env sim_env = {
	.alloc = env_alloc,
	.free = env_free,
	.page_alloc = env_page_alloc,
	.page_free = env_page_free,
	.lock = env_lock,
	.unlock = env_unlock,
	.dma_read = env_dma_read,
	.dma_write = env_dma_write,
	.irq = env_irq,
	.p2p_write = env_p2p_write,
};

static int map_add_locked(struct sim_dev *d, int memfd, uint64_t offset, uint64_t iova, uint64_t size)
{
	struct stat st;
	if (size == 0 || iova + size < iova || offset + size < offset)
		return -EINVAL;
	if (fstat(memfd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || offset + size > (uint64_t)st.st_size)
		return -EINVAL; // touching what is not there would be our SIGBUS
	if (d->n_maps == SIM_MAX_MAPS)
		return -ENOSPC;
	for (unsigned i = 0; i < d->n_maps; i++)
		if (iova < d->map[i].iova + d->map[i].size && d->map[i].iova < iova + size)
			return -EEXIST;
	uint64_t skew = offset & (uint64_t)(sysconf(_SC_PAGESIZE) - 1);
	struct sim_map m = {.iova = iova, .size = size, .mapped = size + skew};
	m.mapping = mmap(NULL, m.mapped, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)(offset - skew));
	if (m.mapping == MAP_FAILED)
		return -errno;
	m.base = (uint8_t *)m.mapping + skew;
	d->map[d->n_maps++] = m;
	return 0;
}

int sim_map_add(struct sim_dev *d, int memfd, uint64_t offset, uint64_t iova, uint64_t size)
{
	pthread_rwlock_wrlock(&d->maps);
	int r = map_add_locked(d, memfd, offset, iova, size);
	pthread_rwlock_unlock(&d->maps);
	return r;
}

int sim_map_remove(struct sim_dev *d, uint64_t iova, uint64_t size)
{
	int r = -ENOENT;
	pthread_rwlock_wrlock(&d->maps);
	for (unsigned i = 0; i < d->n_maps; i++) {
		struct sim_map *m = &d->map[i];
		if (m->iova != iova || m->size != size)
			continue;
		munmap(m->mapping, m->mapped);
		*m = d->map[--d->n_maps];
		r = 0;
		break;
	}
	pthread_rwlock_unlock(&d->maps);
	return r;
}

void sim_map_clear(struct sim_dev *d)
{
	pthread_rwlock_wrlock(&d->maps);
	while (d->n_maps > 0) {
		struct sim_map *m = &d->map[--d->n_maps];
		munmap(m->mapping, m->mapped);
	}
	pthread_rwlock_unlock(&d->maps);
}

int sim_irq_set(struct sim_dev *d, uint64_t vector, int eventfd)
{
	if (vector >= LSM_VECTORS) {
		if (eventfd >= 0)
			close(eventfd);
		return -EINVAL;
	}
	pthread_mutex_lock(&d->irqs);
	if (d->irq[vector] >= 0)
		close(d->irq[vector]);
	d->irq[vector] = eventfd;
	pthread_mutex_unlock(&d->irqs);
	return 0;
}

void sim_irq_clear(struct sim_dev *d)
{
	for (unsigned i = 0; i < LSM_VECTORS; i++)
		sim_irq_set(d, i, -1);
}
