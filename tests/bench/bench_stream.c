// SPDX-License-Identifier: Apache-2.0
// bench_stream [MIB [ROUNDS]]: a device's stream (frames, digest on both sides) against the bare socket, over TCP on
// loopback, in the same run. Prints rates, their ratio and what the streams cost in memory.
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/stream.h"
#include "common/clock.h"
#include "proto/wire/digest.h"
#include "proto/wire/frame.h"

#define CHUNK LS_FRAME_DATA_MAX

struct side {
	int fd;
	uint64_t total;
	uint8_t *buf;
	int failed;
};

static void tcp_pair(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 1) ||
	    getsockname(l, (struct sockaddr *)&a, &len) || connect(fd[0], (struct sockaddr *)&a, sizeof(a))) {
		perror("loopback");
		exit(1);
	}
	fd[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	close(l);
}

static void *bare_receive(void *arg)
{
	struct side *s = arg;
	uint64_t got = 0;
	ssize_t n;

	while (got < s->total && (n = recv(s->fd, s->buf, CHUNK, 0)) > 0)
		got += (uint64_t)n;
	s->failed = got != s->total;
	return NULL;
}

static void *bare_send(void *arg)
{
	struct side *s = arg;
	ssize_t n;

	for (uint64_t sent = 0; sent < s->total; sent += (uint64_t)n) {
		n = send(s->fd, s->buf, CHUNK, MSG_NOSIGNAL);
		if (n <= 0) {
			s->failed = 1;
			break;
		}
	}
	return NULL;
}

static void *stream_receive(void *arg)
{
	struct side *s = arg;
	struct ls_stream *stream = NULL;
	struct ls_digest *digest = ls_digest_new();
	Lockstep__V1__Frame *frame = NULL;
	struct ls_error err = { 0 };
	uint8_t sum[LS_DIGEST_SIZE];
	uint64_t got = 0;
	size_t n;

	s->failed = 1;
	if (ls_stream_adopt(dup(s->fd), eventfd(0, EFD_CLOEXEC), &stream, &err) < 0)
		return NULL;
	while (ls_stream_next(stream, &frame, &n, &err) == 0 && !frame) {
		if (ls_stream_recv_data(stream, s->buf, n, &err) < 0)
			break;
		ls_digest_update(digest, s->buf, n);
		got += n;
	}
	ls_digest_value(digest, sum);
	if (frame && frame->kind_case == LOCKSTEP__V1__FRAME__KIND_END)
		s->failed = got != s->total || memcmp(sum, frame->end->digest.data, sizeof(sum)) != 0;
	lockstep__v1__frame__free_unpacked(frame, NULL);
	ls_stream_close(stream);
	ls_digest_free(digest);
	return NULL;
}

static void *stream_send(void *arg)
{
	struct side *s = arg;
	struct ls_stream *stream = NULL;
	struct ls_digest *digest = ls_digest_new();
	struct ls_error err = { 0 };
	uint8_t sum[LS_DIGEST_SIZE];
	int status = ls_stream_adopt(dup(s->fd), eventfd(0, EFD_CLOEXEC), &stream, &err);

	for (uint64_t sent = 0; !status && sent < s->total; sent += CHUNK) {
		ls_digest_update(digest, s->buf, CHUNK);
		status = ls_stream_send_data(stream, s->buf, CHUNK, &err);
	}
	ls_digest_value(digest, sum);
	if (!status)
		status = ls_stream_send_end(stream, s->total, sum, &err);
	s->failed = status != 0;
	ls_stream_close(stream);
	ls_digest_free(digest);
	return NULL;
}

// GiB/s
static double run(uint64_t total, void *(*send_fn)(void *), void *(*receive_fn)(void *))
{
	int fd[2];
	pthread_t sender, receiver;

	tcp_pair(fd);
	struct side out = { fd[0], total, malloc(CHUNK), 0 }, in = { fd[1], total, malloc(CHUNK), 0 };
	memset(out.buf, 0x5a, CHUNK);
	uint64_t begin = ls_now_ns();
	pthread_create(&receiver, NULL, receive_fn, &in);
	pthread_create(&sender, NULL, send_fn, &out);
	pthread_join(sender, NULL);
	pthread_join(receiver, NULL);
	double seconds = (double)(ls_now_ns() - begin) / 1e9;
	free(out.buf);
	free(in.buf);
	close(fd[0]);
	close(fd[1]);
	if (out.failed || in.failed) {
		fprintf(stderr, "bench_stream: the transfer failed\n");
		exit(1);
	}
	return (double)total / (1u << 30) / seconds;
}

int main(int argc, char **argv)
{
	uint64_t total = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1024) << 20;
	unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 5;
	double bare = 0, stream = 0;
	struct rusage before, after;

	run(total / 4, bare_send, bare_receive);
	getrusage(RUSAGE_SELF, &before);
	for (unsigned i = 0; i < rounds; i++) { // in turn, so that both see the same machine; the best of each counts
		double b = run(total, bare_send, bare_receive), s = run(total, stream_send, stream_receive);
		bare = b > bare ? b : bare;
		stream = s > stream ? s : stream;
	}
	getrusage(RUSAGE_SELF, &after);
	printf("bare socket        %6.2f GiB/s\n", bare);
	printf("stream and digest  %6.2f GiB/s\n", stream);
	printf("ratio              %6.2f\n", stream / bare);
	printf("memory             %6ld KiB more at the peak, for %llu MiB moved\n", after.ru_maxrss - before.ru_maxrss,
	       (unsigned long long)(total >> 20) * 2 * rounds);
	return 0;
}
