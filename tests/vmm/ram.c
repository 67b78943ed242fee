// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/ram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/log.h"
#include "tests/vmm/net.h"

#define PAGE 4096u
#define RUN_MAX (64u * 1024)
#define MAGIC "TVRAM001"
#define TIMEOUT_MS 20000

int tv_ram_init(struct tv_ram *ram, uint64_t size, struct ls_error *err)
{
	memset(ram, 0, sizeof(*ram));
	ram->out = ram->in = -1;
	ram->size = size;
	ram->map = MAP_FAILED;
	ram->memfd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (ram->memfd >= 0 && !ftruncate(ram->memfd, (off_t)size))
		ram->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ram->memfd, 0);
	ram->shadow = malloc(size);
	ram->sent_digest = XXH3_createState();
	ram->received_digest = XXH3_createState();
	if (ram->map == MAP_FAILED || !ram->shadow || !ram->sent_digest || !ram->received_digest)
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot make %llu bytes of guest RAM",
			       (unsigned long long)size);
	return 0;
}

void tv_ram_free(struct tv_ram *ram)
{
	tv_ram_send_abort(ram);
	tv_ram_receive_abort(ram);
	if (ram->map && ram->map != MAP_FAILED)
		munmap(ram->map, ram->size);
	if (ram->memfd > 0)
		close(ram->memfd);
	free(ram->shadow);
	XXH3_freeState(ram->sent_digest);
	XXH3_freeState(ram->received_digest);
}

// The VM goes on writing meanwhile: a page may be torn, and differs from its copy then, and is sent again.
__attribute__((no_sanitize("thread"))) static void copy_page(uint8_t *to, const uint8_t *from)
{
	const volatile uint64_t *f = (const volatile uint64_t *)(const void *)from;
	uint64_t *t = (uint64_t *)(void *)to;

	for (unsigned i = 0; i < PAGE / 8; i++)
		t[i] = f[i];
}

static bool all_zeros(const uint8_t *p)
{
	return !p[0] && !memcmp(p, p + 1, PAGE - 1);
}

static int send_run(struct tv_ram *ram, uint64_t at, uint64_t len)
{
	uint64_t head[2] = { at, len };
	int r = tv_send_all(ram->out, head, sizeof(head));

	XXH3_64bits_update(ram->sent_digest, head, sizeof(head));
	XXH3_64bits_update(ram->sent_digest, ram->shadow + at, len);
	return r ? r : tv_send_all(ram->out, ram->shadow + at, len);
}

// Brings the shadow up to date and sends what `differs` in runs of whole pages.
static int send_pages(struct tv_ram *ram, bool first, uint64_t *sent)
{
	uint64_t start = 0, len = 0;
	int r = 0;

	*sent = 0;
	for (uint64_t at = 0; at < ram->size && !r; at += PAGE) {
		bool differs;

		if (first) {
			copy_page(ram->shadow + at, ram->map + at);
			differs = !all_zeros(ram->shadow + at);
		} else {
			differs = memcmp(ram->shadow + at, ram->map + at, PAGE);
			if (differs)
				memcpy(ram->shadow + at, ram->map + at, PAGE);
		}
		if (len && (!differs || len == RUN_MAX)) {
			r = send_run(ram, start, len);
			*sent += len;
			len = 0;
		}
		if (differs && !len)
			start = at;
		if (differs)
			len += PAGE;
	}
	if (!r && len) {
		r = send_run(ram, start, len);
		*sent += len;
	}
	return r;
}

static void *send_main(void *arg)
{
	struct tv_ram *ram = arg;
	uint64_t size = ram->size;
	int r;

	XXH3_64bits_reset(ram->sent_digest);
	r = tv_connect(ram->out, ram->peer, TIMEOUT_MS);
	if (!r)
		r = tv_send_all(ram->out, MAGIC, 8);
	if (!r)
		r = tv_send_all(ram->out, &size, sizeof(size));
	if (!r)
		r = send_pages(ram, true, &ram->first_pass);
	if (r)
		ls_fail(&ram->send_error, LS_E_STREAM_BROKEN, -r, "cannot send RAM to %s", ram->peer);
	return NULL;
}

int tv_ram_send_begin(struct tv_ram *ram, const char *peer, struct ls_error *err)
{
	int r;

	tv_ram_send_abort(ram);
	memset(&ram->send_error, 0, sizeof(ram->send_error));
	ram->sent_before = ram->sent_after = 0;
	snprintf(ram->peer, sizeof(ram->peer), "%s", peer);
	ram->out = tv_socket_for(peer);
	if (ram->out < 0)
		return ls_fail(err, LS_E_INVALID, -ram->out, "not an address to send RAM to: %s", peer);
	r = pthread_create(&ram->sender, NULL, send_main, ram);
	if (r)
		return ls_fail(err, LS_E_RESOURCE, r, "cannot start the RAM sender");
	ram->sending = true;
	return 0;
}

static int finish(struct tv_ram *ram)
{
	uint64_t tail[2] = { XXH3_64bits_digest(ram->sent_digest), 0 };
	char answer = 0;
	int r = tv_send_all(ram->out, tail, sizeof(tail));

	if (!r)
		r = tv_receive_all(ram->out, &answer, 1);
	return r ? r : answer == 'k' ? 0 : -EPROTO;
}

int tv_ram_send_rest(struct tv_ram *ram, struct ls_error *err)
{
	int r;

	if (!ram->sending)
		return ls_fail(err, LS_E_VMM_FAILED, ENOTCONN, "RAM was not sent before: no peer is configured");
	pthread_join(ram->sender, NULL);
	ram->sending = false;
	ram->sent_before = ram->first_pass;
	if (ram->send_error.reason != LS_E_NONE) {
		if (err)
			*err = ram->send_error;
		return -ram->send_error.err;
	}
	r = send_pages(ram, false, &ram->sent_after);
	if (!r)
		r = finish(ram);
	return r ? ls_fail(err, LS_E_STREAM_BROKEN, -r, "cannot send the rest of RAM to %s", ram->peer) : 0;
}

void tv_ram_send_abort(struct tv_ram *ram)
{
	if (ram->out >= 0)
		shutdown(ram->out, SHUT_RDWR);
	if (ram->sending)
		pthread_join(ram->sender, NULL);
	ram->sending = false;
	if (ram->out >= 0)
		close(ram->out);
	ram->out = -1;
}

// ---- destination ----

static int receive_record(struct tv_ram *ram, bool *end)
{
	uint64_t head[2];
	int r = tv_receive_all(ram->in, head, sizeof(head));

	if (r)
		return r;
	if (!head[1]) {
		*end = true;
		return head[0] == XXH3_64bits_digest(ram->received_digest) ? 0 : -EBADMSG;
	}
	if (head[1] > RUN_MAX || head[0] > ram->size || head[1] > ram->size - head[0])
		return -EMSGSIZE;
	ram->used = true;
	r = tv_receive_all(ram->in, ram->map + head[0], head[1]);
	XXH3_64bits_update(ram->received_digest, head, sizeof(head));
	XXH3_64bits_update(ram->received_digest, ram->map + head[0], head[1]);
	return r;
}

static int receive_session(struct tv_ram *ram)
{
	char magic[8];
	uint64_t size;
	bool end = false;
	int r = tv_receive_all(ram->in, magic, sizeof(magic));

	if (!r)
		r = memcmp(magic, MAGIC, sizeof(magic)) ? -EPROTO : tv_receive_all(ram->in, &size, sizeof(size));
	if (!r && size != ram->size)
		r = -EMSGSIZE;
	if (!r && ram->used)
		memset(ram->map, 0, ram->size);
	XXH3_64bits_reset(ram->received_digest);
	while (!r && !end)
		r = receive_record(ram, &end);
	return r;
}

static void *receive_main(void *arg)
{
	struct tv_ram *ram = arg;
	int r = receive_session(ram);

	if (!r) {
		atomic_store(&ram->complete, true);
		r = tv_send_all(ram->in, "k", 1);
	}
	if (r)
		ls_log(LS_LOG_WARN, "vmm.ram-refused", "errno=%s", ls_errno_name(-r));
	shutdown(ram->in, SHUT_RDWR);
	return NULL;
}

void tv_ram_receive(struct tv_ram *ram, int fd)
{
	tv_ram_receive_abort(ram);
	ram->in = fd;
	if (pthread_create(&ram->receiver, NULL, receive_main, ram)) {
		close(fd);
		ram->in = -1;
		return;
	}
	ram->receiving = true;
}

void tv_ram_receive_abort(struct tv_ram *ram)
{
	if (ram->in >= 0)
		shutdown(ram->in, SHUT_RDWR);
	if (ram->receiving)
		pthread_join(ram->receiver, NULL);
	ram->receiving = false;
	if (ram->in >= 0)
		close(ram->in);
	ram->in = -1;
	atomic_store(&ram->complete, false);
}
