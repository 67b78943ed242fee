// SPDX-License-Identifier: Apache-2.0
// lockstepd --config FILE [--check] [--log LEVEL], lockstepd backup COPY --config FILE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common/fault.h"
#include "common/log.h"
#include "common/notify.h"
#include "coordinator/config.h"
#include "coordinator/service.h"

struct world {
	uv_loop_t loop;
	struct ls_coord_config *config;
	struct ls_store *store;
	struct ls_agents *agents;
	struct ls_migrations *migrations;
	struct ls_service *service;
	struct ls_rpc_server *server;
	uv_signal_t signal[2];
	uv_timer_t watchdog;
};

static const char usage[] = "usage: lockstepd --config FILE [--check] [--log error|warn|info|debug]\n"
			    "       lockstepd backup COPY --config FILE\n"
			    "\n"
			    "  backup COPY     copy the store into a new file, also while lockstepd runs\n"
			    "  --config FILE   what to read; see the folder coordinator/ of the source for an example\n"
			    "  --check         read the configuration, say whether it is good, and leave\n"
			    "  --log LEVEL     default: info\n"
			    "  --faults        list the named fault points, for tests\n"
			    "  --version       print the version\n";

static void on_peer_error(void *user, const char *peer, const char *what)
{
	ls_log(LS_LOG_WARN, "peer.refused", "peer=%s what=\"%s\"", peer, what);
}

static void stop(struct world *w)
{
	// Watches first: their callers are told before the rest goes.
	ls_rpc_server_destroy(w->server);
	if (w->migrations)
		ls_migrations_stop(w->migrations);
	ls_agents_free(w->agents);
	ls_store_free(w->store);
	ls_migrations_free(w->migrations);
	ls_service_free(w->service);
	w->server = NULL;
	w->migrations = NULL;
	w->agents = NULL;
	w->store = NULL;
	w->service = NULL;
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct world *w = signal->data;

	ls_log(LS_LOG_INFO, "coordinator.stopping", "signal=%d open=%u", number, ls_migrations_open(w->migrations));
	ls_notify("STOPPING=1\nSTATUS=the agents go on with what is open");
	stop(w);
	uv_close((uv_handle_t *)&w->watchdog, NULL);
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&w->signal[i], NULL);
}

static void on_watchdog(uv_timer_t *timer)
{
	ls_notify("WATCHDOG=1");
}

static int build(struct world *w, struct ls_error *err)
{
	struct ls_rpc_server_options options = {.on_peer_error = on_peer_error};
	char why[200];
	int r;

	r = ls_store_open(w->config->store, &w->store, err);
	// A higher term than any before, so that a forgotten earlier self is refused (rule 7).
	if (r == 0)
		r = ls_store_set_term(w->store, ls_store_term(w->store) + 1, err);
	if (r == 0)
		r = ls_agents_new(&w->loop, w->config, w->store, &w->agents, err);
	if (r == 0)
		r = ls_migrations_new(&w->loop, w->agents, w->store, &w->migrations, err);
	if (r == 0)
		r = ls_store_start(w->store, &w->loop, err);
	if (r < 0)
		return r;
	r = ls_rpc_server_create(&w->loop, &options, &w->server);
	if (r == 0)
		r = ls_service_new(w->server, w->agents, w->migrations, w->store, &w->service);
	if (r < 0)
		return ls_fail(err, LS_E_RESOURCE, -r, "cannot make a server");
	r = ls_rpc_server_listen(w->server, w->config->listen, why, sizeof(why));
	if (r < 0)
		return ls_fail(err, LS_E_CONFIG, -r, "[coordinator] listen: %s", why);
	return 0;
}

static int run(struct world *w)
{
	static const int numbers[2] = {SIGTERM, SIGINT};
	struct ls_error err = {0};
	int r;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); // a limit on files is an error of the store, no more
	uv_loop_init(&w->loop);
	r = build(w, &err);
	if (r < 0) {
		ls_log_error("coordinator.failed", &err, "store=%s", w->config->store);
		stop(w);
	} else {
		for (int i = 0; i < 2; i++) {
			uv_signal_init(&w->loop, &w->signal[i]);
			w->signal[i].data = w;
			uv_signal_start(&w->signal[i], on_signal, numbers[i]);
		}
		ls_fault(coordinator_restart_ready);
		ls_migrations_go_on(w->migrations);
		uv_timer_init(&w->loop, &w->watchdog);
		if (ls_notify_watchdog_ms())
			uv_timer_start(&w->watchdog, on_watchdog, 0, ls_notify_watchdog_ms());
		ls_notify("READY=1\nSTATUS=serves on %s", ls_rpc_server_address(w->server, 0));
		ls_log(LS_LOG_INFO, "coordinator.ready", "listen=%s", ls_rpc_server_address(w->server, 0));
	}
	uv_run(&w->loop, UV_RUN_DEFAULT);
	uv_loop_close(&w->loop);
	return r < 0 ? 1 : 0;
}

static int back_up(const struct ls_coord_config *config, const char *to)
{
	struct ls_error err;
	char text[512];

	if (ls_store_backup(config->store, to, &err) < 0) {
		fprintf(stderr, "lockstepd: backup: %s\n", ls_error_text(&err, text, sizeof(text)));
		return 1;
	}
	printf("%s: a good copy of %s\n", to, config->store);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
		{"log", required_argument, NULL, 'l'},	  {"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},	  {"faults", no_argument, NULL, 'f'},	  {0}};
	enum ls_log_level level = LS_LOG_INFO;
	const char *path = NULL, *copy = NULL;
	struct world w = {0};
	struct ls_error err;
	char text[512];
	bool check = false;
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'k':
			check = true;
			break;
		case 'l':
			if (ls_log_level_parse(optarg, &level) < 0) {
				fprintf(stderr, "lockstepd: --log: error, warn, info or debug, not `%s`\n", optarg);
				return 2;
			}
			break;
		case 'v':
			puts("lockstepd " LOCKSTEP_VERSION);
			return 0;
		case 'f':
			ls_fault_list("coordinator", stdout);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs("Try `lockstepd --help`.\n", stderr);
			return 2;
		}
	}
	if (optind + 2 == argc && strcmp(argv[optind], "backup") == 0) {
		copy = argv[optind + 1];
		optind += 2;
	}
	if (!path || optind != argc || (copy && check)) {
		fputs(usage, stderr);
		return 2;
	}
	ls_log_init("lockstepd", level);
	if (ls_fault_init("coordinator", &err) < 0) {
		fprintf(stderr, "lockstepd: %s\n", ls_error_text(&err, text, sizeof(text)));
		return 2;
	}
	r = ls_coord_config_load(path, &w.config, &err);
	if (r < 0) {
		fprintf(stderr, "lockstepd: %s\n", ls_error_text(&err, text, sizeof(text)));
		return 1;
	}
	if (check)
		printf("%s: good, %u host%s\n", path, w.config->n_hosts, w.config->n_hosts == 1 ? "" : "s");
	else if (copy)
		r = back_up(w.config, copy);
	else
		r = run(&w);
	free(w.config);
	return r;
}
