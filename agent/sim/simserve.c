// SPDX-License-Identifier: Apache-2.0
// Requests on device fds and on the control socket, each carried out and answered.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/sim/simhost.h"
#include "common/clock.h"

static int region_read(struct sim_dev *d, uint64_t region, uint64_t off, void *buf, uint64_t len)
{
	if (len > LS_SIM_BULK || off > UINT32_MAX)
		return -EINVAL;
	int r = -EINVAL;
	sim_lock(&d->lock);
	if (region == LS_SIM_BAR0)
		r = lsm_regs_read(&d->model, (uint32_t)off, buf, (uint32_t)len);
	else if (region == LS_SIM_BAR2)
		r = lsm_window_read(&d->model, (uint32_t)off, buf, (uint32_t)len);
	else if (region == LS_SIM_CONFIG)
		r = sim_config_read(d, off, buf, len);
	sim_unlock(&d->lock);
	return r;
}

static int region_write(struct sim_dev *d, uint64_t region, uint64_t off, const void *buf, uint64_t len)
{
	if (off > UINT32_MAX)
		return -EINVAL;
	int r = -EINVAL;
	sim_lock(&d->lock);
	if (region == LS_SIM_BAR0)
		r = lsm_regs_write(&d->model, (uint32_t)off, buf, (uint32_t)len);
	else if (region == LS_SIM_BAR2)
		r = lsm_window_write(&d->model, (uint32_t)off, buf, (uint32_t)len);
	else if (region == LS_SIM_CONFIG)
		r = sim_config_write(d, off, buf, len);
	pthread_cond_broadcast(&d->wake); // a doorbell, the engine's or the bus-master bit
	sim_unlock(&d->lock);
	return r;
}

static void serve_region(struct sim_dev *d, struct sim_request *req, uint64_t begin_ns)
{
	const uint64_t *arg = req->head.arg;
	bool reading = req->head.op == LS_SIM_OP_REGION_READ;
	uint64_t len = reading ? arg[2] : req->head.len;
	uint8_t small[LS_SIM_INLINE];
	uint8_t *buf = small;
	int r = len > LS_SIM_BULK ? -EINVAL : 0;
	if (r == 0 && len > sizeof(small)) {
		buf = malloc(len);
		if (!buf)
			r = -ENOMEM;
	}
	if (r == 0 && reading) {
		r = region_read(d, arg[0], arg[1], buf, len);
	} else if (r == 0) {
		r = sim_recv_bulk(req, buf);
		if (r == 0)
			r = region_write(d, arg[0], arg[1], buf, len);
		sim_testify(d, begin_ns);
	}
	sim_reply(req, r, NULL, buf, r == 0 && reading ? len : 0, -1);
	if (buf != small)
		free(buf);
}

static void serve_info(struct sim_dev *d, struct sim_request *req)
{
	struct ls_sim_dev_info info = {.flags = d->info->mig_flags, .bar0_size = LSM_BAR0_SIZE,
				       .bar2_size = (uint32_t)d->mem_size, .config_size = SIM_CONFIG_SIZE,
				       .n_vectors = LSM_VECTORS};
	sim_reply(req, 0, NULL, &info, sizeof(info), -1);
}

static void serve_device(struct sim_dev *d, struct sim_request *req)
{
	const uint64_t *arg = req->head.arg;
	uint64_t value[2] = {0, 0}, begin_ns = ls_now_ns();
	int r = 0, data_fd = -1;
	switch (req->head.op) {
	case LS_SIM_OP_INFO:
		serve_info(d, req);
		return;
	case LS_SIM_OP_REGION_READ:
	case LS_SIM_OP_REGION_WRITE:
		serve_region(d, req, begin_ns);
		return;
	case LS_SIM_OP_DMA_MAP:
		r = sim_map_add(d, req->fd, arg[0], arg[1], arg[2]);
		break;
	case LS_SIM_OP_DMA_UNMAP:
		r = sim_map_remove(d, arg[1], arg[2]);
		break;
	case LS_SIM_OP_SET_IRQ:
		r = sim_irq_set(d, arg[0], req->fd);
		req->fd = -1;
		break;
	case LS_SIM_OP_RESET:
		r = sim_reset(d);
		break;
	case LS_SIM_OP_GET_STATE:
		pthread_mutex_lock(&d->state);
		value[0] = (uint64_t)atomic_load(&d->cur);
		pthread_mutex_unlock(&d->state);
		break;
	case LS_SIM_OP_SET_STATE:
		r = sim_set_state(d, arg[0], &data_fd);
		break;
	case LS_SIM_OP_DATA_SIZE:
		pthread_mutex_lock(&d->state);
		sim_lock(&d->lock);
		value[0] = lsm_image_size(&d->model);
		sim_unlock(&d->lock);
		pthread_mutex_unlock(&d->state);
		break;
	default:
		r = -ENOTTY;
	}
	if (req->head.op == LS_SIM_OP_SET_STATE || req->head.op == LS_SIM_OP_RESET)
		sim_testify(d, begin_ns);
	sim_reply(req, r, value, NULL, 0, data_fd);
}

void *sim_serve_device(void *arg)
{
	struct sim_serving *v = arg;
	struct sim_request req;
	while (sim_recv(v->sock, &req) > 0)
		serve_device(v->dev, &req);
	return NULL;
}

static struct sim_dev *find(struct sim_host *h, const char *name)
{
	for (unsigned i = 0; i < h->n; i++)
		if (strcmp(h->dev[i].name, name) == 0)
			return &h->dev[i];
	return NULL;
}

// K8: what is wrong with `version` for a device of type `type`.
static int check_version(struct sim_host *h, const char *type, const char *version)
{
	for (unsigned i = 0; i < h->n; i++) {
		struct sim_dev *d = &h->dev[i];
		char own[64];
		sim_dev_type(d, own, sizeof(own));
		if (strcmp(own, type) != 0)
			continue;
		if (h->software_version == 0)
			return -ENOENT;
		return lsm_version_check(d->info, (uint32_t)h->software_version, (uint32_t)d->mem_size, version);
	}
	return -ENOENT;
}

static void serve_query(struct sim_dev *d, struct sim_request *req)
{
	struct ls_sim_info info = {.flags = d->info->mig_flags, .mem_size = (uint32_t)d->mem_size,
				   .slot = (uint32_t)d->slot, .open = atomic_load(&d->is_open)};
	info.numa_node = d->numa_node <= 1023 ? (int32_t)d->numa_node : -1;
	sim_dev_type(d, info.type, sizeof(info.type));
	sim_dev_version(d, info.version);
	sim_reply(req, 0, NULL, &info, sizeof(info), -1);
}

static void serve_counters(struct sim_dev *d, struct sim_request *req)
{
	struct ls_sim_counters c = {
		.renewed = atomic_load(&d->renewed), .state = atomic_load(&d->cur), .live = sim_live(d)};
	sim_lock(&d->lock);
	c.rx_dropped = d->model.stats.rx_dropped;
	c.mmio_dropped = d->model.stats.mmio_dropped;
	c.rx_outside = d->model.stats.rx_outside;
	c.done = d->model.r.done;
	sim_unlock(&d->lock);
	pthread_mutex_lock(&d->irqs);
	c.irq_lost = d->irq_lost;
	pthread_mutex_unlock(&d->irqs);
	sim_reply(req, 0, NULL, &c, sizeof(c), -1);
}

static void serve_control(struct sim_host *h, struct sim_request *req)
{
	char text[LS_SIM_INLINE + 1];
	size_t len = req->head.len <= LS_SIM_INLINE ? req->head.len : 0;
	memcpy(text, req->payload, len);
	text[len] = 0;
	char *second = text + strlen(text);
	if (second < text + len)
		second++;
	int fd = -1;
	if (req->head.op == LS_SIM_OP_CHECK) {
		sim_reply(req, check_version(h, text, second), NULL, NULL, 0, -1);
		return;
	}
	struct sim_dev *d = find(h, text);
	int r = d ? -ENOTTY : -ENOENT;
	if (d && req->head.op == LS_SIM_OP_QUERY) {
		serve_query(d, req);
		return;
	}
	if (d && req->head.op == LS_SIM_OP_COUNTERS) {
		serve_counters(d, req);
		return;
	}
	if (d && req->head.op == LS_SIM_OP_OPEN) {
		r = sim_dev_open(d, &fd);
		// Whoever opens next sees no copy of ours.
		pthread_mutex_lock(&h->opening);
		sim_reply(req, r, NULL, NULL, 0, fd);
		pthread_mutex_unlock(&h->opening);
		return;
	}
	if (d && req->head.op == LS_SIM_OP_DEBUG)
		r = sim_debug_command(d, second);
	sim_reply(req, r, NULL, NULL, 0, fd);
}

void *sim_serve_control(void *arg)
{
	struct sim_serving *v = arg;
	struct sim_request req;
	while (sim_recv(v->sock, &req) > 0)
		serve_control(v->host, &req);
	close(v->sock);
	free(v);
	return NULL;
}
