// SPDX-License-Identifier: Apache-2.0
// The life of one data_fd (K4): a socket whose other end was handed out, and the thread that serves it.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/sim/simhost.h"

static void session_unref(struct sim_session *s)
{
	if (atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	close(s->sock);
	pthread_mutex_destroy(&s->io);
	free(s);
}

// io held. The number of bytes, 0 at the end, -ENOMSG for now.
static int session_read(struct sim_session *s, uint8_t *buf, size_t len)
{
	struct sim_dev *d = s->dev;
	size_t got = 0;
	if (s->dead)
		return -ENODEV;
	if (!s->saving)
		return -EINVAL;
	while (got < len) {
		sim_lock(&d->lock);
		int n = lsm_save_fill(&s->save);
		sim_unlock(&d->lock);
		if (n <= 0)
			return got > 0 ? (int)got : n;
		size_t take = (size_t)n < len - got ? (size_t)n : len - got;
		memcpy(buf + got, s->save.buf + s->save.pos, take);
		lsm_save_consume(&s->save, (uint32_t)take);
		got += take;
	}
	return (int)got;
}

static int session_write(struct sim_session *s, const uint8_t *buf, size_t len)
{
	if (s->dead)
		return -ENODEV;
	if (s->saving || len == 0)
		return -EINVAL;
	int r = lsm_load_feed(&s->load, buf, len);
	return r < 0 ? r : (int)len;
}

static int session_info(struct sim_session *s, uint64_t value[2])
{
	if (s->dead)
		return -ENODEV;
	if (!s->saving)
		return -EINVAL;
	sim_lock(&s->dev->lock);
	int r = lsm_save_info(&s->save, &value[0], &value[1]);
	sim_unlock(&s->dev->lock);
	// Linux 7.2, REINIT: what is dirty counts as initial data that has appeared anew. The estimate may be too high
	// (K5).
	uint64_t left = atomic_load(&s->dev->renew);
	if (r == 0 && left > 0 && value[0] == 0 &&
	    atomic_compare_exchange_strong(&s->dev->renew, &left, left - 1)) {
		value[0] = value[1] ? value[1] : LSM_PAGE_SIZE;
		value[1] = 0;
		atomic_fetch_add(&s->dev->renewed, 1);
		r = 1;
	}
	return r;
}

static void serve(struct sim_session *s, struct sim_request *req, uint8_t *buf)
{
	struct sim_dev *d = s->dev;
	uint64_t value[2] = {0, 0};
	size_t reply_len = 0;
	int r;
	switch (req->head.op) {
	case LS_SIM_OP_READ:
		sim_debug_read(d);
		pthread_mutex_lock(&s->io);
		r = req->head.arg[0] <= LS_SIM_BULK ? session_read(s, buf, req->head.arg[0]) : -EINVAL;
		pthread_mutex_unlock(&s->io);
		reply_len = r > 0 ? (size_t)r : 0;
		s->next_ns = sim_pace(s->next_ns, reply_len, atomic_load(&d->save_rate));
		break;
	case LS_SIM_OP_WRITE:
		r = sim_recv_bulk(req, buf);
		if (r < 0)
			break;
		s->next_ns = sim_pace(s->next_ns, req->head.len, atomic_load(&d->load_rate));
		pthread_mutex_lock(&s->io);
		r = session_write(s, buf, req->head.len);
		pthread_mutex_unlock(&s->io);
		break;
	case LS_SIM_OP_PRECOPY_INFO:
		pthread_mutex_lock(&s->io);
		r = session_info(s, value);
		pthread_mutex_unlock(&s->io);
		break;
	default:
		r = -ENOTTY;
	}
	sim_reply(req, r, value, buf, reply_len, -1);
}

static void *session_main(void *arg)
{
	struct sim_session *s = arg;
	struct sim_request req;
	uint8_t *buf = malloc(LS_SIM_BULK);
	while (buf && sim_recv(s->sock, &req) > 0)
		serve(s, &req, buf);
	free(buf);
	shutdown(s->sock, SHUT_RDWR);
	session_unref(s);
	return NULL;
}

static int session_begin(struct sim_session *s, bool precopy)
{
	struct sim_dev *d = s->dev;
	sim_lock(&d->lock);
	int r = s->saving ? lsm_save_begin(&s->save, &d->model, precopy) : lsm_load_begin(&s->load, &d->model);
	sim_unlock(&d->lock);
	return r;
}

static void session_finish(struct sim_session *s)
{
	struct sim_dev *d = s->dev;
	pthread_mutex_lock(&s->io);
	sim_lock(&d->lock);
	if (s->saving)
		lsm_save_end(&s->save);
	else
		lsm_load_end(&s->load);
	sim_unlock(&d->lock);
	s->dead = true;
	pthread_mutex_unlock(&s->io);
}

int sim_session_new(struct sim_dev *d, bool saving, bool precopy, int *ret_fd)
{
	int pair[2];
	struct sim_session *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		int r = -errno;
		free(s);
		return r;
	}
	atomic_init(&s->refs, 2);
	s->dev = d;
	s->sock = pair[0];
	s->saving = saving;
	pthread_mutex_init(&s->io, NULL);
	int r = session_begin(s, precopy);
	if (r == 0) {
		r = sim_thread(session_main, s);
		if (r < 0)
			session_finish(s);
	}
	if (r < 0) {
		close(pair[1]);
		session_unref(s);
		session_unref(s);
		return r;
	}
	d->session = s;
	*ret_fd = pair[1];
	return 0;
}

void sim_session_final(struct sim_session *s)
{
	pthread_mutex_lock(&s->io);
	sim_lock(&s->dev->lock);
	lsm_save_final(&s->save);
	sim_unlock(&s->dev->lock);
	pthread_mutex_unlock(&s->io);
}

int sim_session_commit(struct sim_session *s)
{
	pthread_mutex_lock(&s->io);
	sim_lock(&s->dev->lock);
	int r = lsm_load_commit(&s->load);
	sim_unlock(&s->dev->lock);
	pthread_mutex_unlock(&s->io);
	return r;
}

void sim_session_end(struct sim_dev *d)
{
	struct sim_session *s = d->session;
	if (!s)
		return;
	d->session = NULL;
	session_finish(s);
	session_unref(s);
}
