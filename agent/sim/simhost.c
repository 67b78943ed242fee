// SPDX-License-Identifier: Apache-2.0
// lockstep-simhost: the "kernel and hardware" of one simulated host. It outlives the agents and VMMs that use it.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/sim/simhost.h"
#include "common/config.h"
#include "common/log.h"

#define HOST(field) offsetof(struct sim_host, field)
#define DEV(field) offsetof(struct sim_dev, field)

static const struct ls_config_key keys[] = {
	{"host", "socket", LS_CONFIG_STRING, HOST(socket_path), 108, 0, 0, true},
	{"host", "software_version", LS_CONFIG_UINT, HOST(software_version), 8, 0, 1000, false},
	{"device", "type", LS_CONFIG_STRING, DEV(type_name), 32, 0, 0, true},
	{"device", "memory", LS_CONFIG_UINT, DEV(mem_size), 8, LSM_MEM_MIN, LSM_MEM_MAX, false},
	{"device", "fabric", LS_CONFIG_UINT, DEV(fabric), 8, 0, UINT32_MAX, false},
	{"device", "slot", LS_CONFIG_UINT, DEV(slot), 8, 0, LSM_SLOTS - 1, true},
	{"device", "numa_node", LS_CONFIG_UINT, DEV(numa_node), 8, 0, 1023, false},
	{"device", "rate", LS_CONFIG_UINT, DEV(rate), 8, 0, 1000000000, false},
	{"device", "save_rate", LS_CONFIG_UINT, DEV(save_rate), 8, 0, 1ull << 40, false},
	{"device", "load_rate", LS_CONFIG_UINT, DEV(load_rate), 8, 0, 1ull << 40, false},
};

static void *object(void *user, const char *section, const char *name, int line, struct ls_error *err)
{
	struct sim_host *h = user;
	if (strcmp(section, "host") == 0)
		return h;
	for (unsigned i = 0; i < h->n; i++) {
		if (strcmp(h->dev[i].name, name) == 0) {
			ls_fail(err, LS_E_CONFIG, EINVAL, "device %s is there twice", name);
			return NULL;
		}
	}
	if (h->n == SIM_MAX_DEVICES) {
		ls_fail(err, LS_E_CONFIG, EINVAL, "more than %d devices", SIM_MAX_DEVICES);
		return NULL;
	}
	struct sim_dev *d = &h->dev[h->n++];
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->numa_node = UINT64_MAX;
	d->rate = 20000;
	return d;
}

static int bind_socket(const char *path, struct ls_error *err)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ls_fail(err, LS_E_RESOURCE, errno, "cannot make a socket");
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	// A socket that nobody listens on any more is in the way; one that answers is another host's.
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
		close(fd);
		return ls_fail(err, LS_E_RESOURCE, EADDRINUSE, "another simulated host listens on %s", path);
	}
	if (errno == ECONNREFUSED)
		unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 64) < 0) {
		int r = ls_fail(err, LS_E_RESOURCE, errno, "cannot listen on %s", path);
		close(fd);
		return r;
	}
	return fd;
}

static void accept_one(struct sim_host *h, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct sim_serving *v = malloc(sizeof(*v));
	if (v) {
		*v = (struct sim_serving){.host = h, .sock = fd};
		if (sim_thread(sim_serve_control, v) == 0)
			return;
	}
	free(v);
	close(fd);
}

static int serve(struct sim_host *h, int listener, int signals)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = listener, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			return 0;
		if (p[0].revents)
			accept_one(h, listener);
	}
}

static int block_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int run(struct sim_host *h, const char *config, struct ls_error *err)
{
	struct rlimit files = {0};
	int signals = block_signals();
	int r = ls_config_load(config, keys, sizeof(keys) / sizeof(keys[0]), object, h, err);
	if (r < 0)
		return r;
	if (h->n == 0)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "%s: no [device NAME] section", config);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	for (unsigned i = 0; i < h->n; i++) {
		r = sim_dev_init(&h->dev[i], h, err);
		if (r < 0)
			return r;
	}
	int listener = bind_socket(h->socket_path, err);
	if (listener < 0)
		return listener;
	ls_log(LS_LOG_INFO, "simhost.ready", "socket=%s devices=%u", h->socket_path, h->n);
	if (write(STDOUT_FILENO, "ready\n", 6) < 0)
		ls_log(LS_LOG_DEBUG, "simhost.nobody-listens", "fd=1");
	r = serve(h, listener, signals);
	unlink(h->socket_path);
	return r < 0 ? ls_fail(err, LS_E_INTERNAL, -r, "poll failed") : 0;
}

static int usage(void)
{
	fputs("usage: lockstep-simhost CONFIG\n"
	      "       lockstep-simhost debug SOCKET DEVICE COMMAND\n"
	      "       lockstep-simhost counters SOCKET DEVICE\n",
	      stderr);
	return 2;
}

static int counters(const char *socket_path, const char *name)
{
	struct ls_sim_counters c;
	int r = ls_sim_counters(socket_path, name, &c);
	if (r == 0)
		printf("state=%d live=%d done=%llu rx_dropped=%llu mmio_dropped=%llu rx_outside=%llu irq_lost=%llu renewed=%llu\n",
		       c.state, c.live, (unsigned long long)c.done, (unsigned long long)c.rx_dropped,
		       (unsigned long long)c.mmio_dropped, (unsigned long long)c.rx_outside,
		       (unsigned long long)c.irq_lost, (unsigned long long)c.renewed);
	return r;
}

int main(int argc, char **argv)
{
	ls_log_init("lockstep-simhost", LS_LOG_INFO);
	if (argc == 5 && strcmp(argv[1], "debug") == 0) {
		int r = ls_sim_debug(argv[2], argv[3], argv[4]);
		if (r < 0)
			fprintf(stderr, "lockstep-simhost: %s\n", ls_errno_name(-r));
		return r < 0;
	}
	if (argc == 4 && strcmp(argv[1], "counters") == 0)
		return counters(argv[2], argv[3]) < 0;
	if (argc != 2 || argv[1][0] == '-')
		return usage();
	static struct sim_host host = {.software_version = LSM_IMAGE_VERSION, .opening = PTHREAD_MUTEX_INITIALIZER,
				       .closed = PTHREAD_COND_INITIALIZER};
	struct ls_error err = {0};
	if (run(&host, argv[1], &err) < 0) {
		ls_log_error("simhost.failed", &err, "config=%s", argv[1]);
		return 1;
	}
	return 0;
}
