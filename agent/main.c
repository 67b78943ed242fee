// SPDX-License-Identifier: Apache-2.0
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/peer.h"
#include "agent/show.h"
#include "common/fault.h"
#include "common/log.h"

static const char usage[] =
	"usage: lockstep-agent --config FILE [--check] [--log error|warn|info|debug]\n"
	"       lockstep-agent show --config FILE [--devices] [--output text|json]\n"
	"       lockstep-agent --faults              named fault points, for tests\n";

struct world {
	struct ls_agent agent;
	uv_signal_t term, interrupt;
	uv_timer_t watchdog;
};

static void on_watchdog(uv_timer_t *timer)
{
	ls_notify("WATCHDOG=1");
}

static void on_stopped(struct ls_agent *a)
{
	struct world *w = a->loop->data;

	uv_close((uv_handle_t *)&w->term, NULL);
	uv_close((uv_handle_t *)&w->interrupt, NULL);
	uv_close((uv_handle_t *)&w->watchdog, NULL);
	uv_stop(a->loop); // closed outside of whatever callback this is
}

static void on_signal(uv_signal_t *signal, int number)
{
	struct world *w = signal->data;

	ls_log(LS_LOG_INFO, "agent.stopping", "signal=%s", strsignal(number));
	ls_agent_stop(&w->agent, on_stopped);
}

static int fail(const struct ls_error *err, int code)
{
	char text[512];

	fprintf(stderr, "lockstep-agent: %s\n", ls_error_text(err, text, sizeof(text)));
	return code;
}

static int serve(const struct ls_agent_config *config)
{
	static struct world w;
	struct ls_error err;
	uv_loop_t loop;

	signal(SIGPIPE, SIG_IGN);
	uv_loop_init(&loop);
	loop.data = &w;
	int r = ls_agent_open(&w.agent, &loop, config, &err);
	if (r == 0) {
		uv_signal_init(&loop, &w.term);
		uv_signal_init(&loop, &w.interrupt);
		uv_timer_init(&loop, &w.watchdog);
		if (ls_notify_watchdog_ms())
			uv_timer_start(&w.watchdog, on_watchdog, 0, ls_notify_watchdog_ms());
		w.term.data = w.interrupt.data = &w;
		uv_signal_start(&w.term, on_signal, SIGTERM);
		uv_signal_start(&w.interrupt, on_signal, SIGINT);
		ls_log(LS_LOG_INFO, "agent.ready", "listen=%s stream=%s host=%s ledger=%s",
		       ls_rpc_server_address(w.agent.server, 0), ls_peers_address(w.agent.peers), config->host,
		       ls_ledger_id(w.agent.ledger));
		printf("agent.ready listen=%s stream=%s\n", ls_rpc_server_address(w.agent.server, 0),
		       ls_peers_address(w.agent.peers));
		fflush(stdout);
		ls_notify("READY=1\nSTATUS=listens on %s", ls_rpc_server_address(w.agent.server, 0));
		uv_run(&loop, UV_RUN_DEFAULT);
	}
	if (!ls_agent_leave(&w.agent)) {
		fflush(stdout);
		_exit(r == 0 ? 0 : 1); // every word is on the disk
	}
	uv_loop_close(&loop);
	return r == 0 ? 0 : fail(&err, 1);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "devices", no_argument, NULL, 'd' },
		{ "output", required_argument, NULL, 'o' },
		{ "check", no_argument, NULL, 'k' },
		{ "faults", no_argument, NULL, 'f' },
		{ "log", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	struct ls_show_options how = { .json = false };
	enum ls_log_level level = LS_LOG_INFO;
	struct ls_agent_config *config;
	const char *path = NULL;
	bool check = false, show = argc > 1 && strcmp(argv[1], "show") == 0;
	struct ls_error err;
	int option, r;

	optind = show ? 2 : 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 'k':
			check = true;
			break;
		case 'l':
			if (ls_log_level_parse(optarg, &level) < 0) {
				fprintf(stderr, "lockstep-agent: --log %s: error, warn, info or debug\n", optarg);
				return 2;
			}
			break;
		case 'd':
			how.states = true;
			break;
		case 'o':
			how.json = strcmp(optarg, "json") == 0;
			if (!how.json && strcmp(optarg, "text") != 0) {
				fprintf(stderr, "lockstep-agent: --output %s: text or json\n", optarg);
				return 2;
			}
			break;
		case 'f':
			ls_fault_list("agent", stdout);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'v':
			puts("lockstep-agent " LOCKSTEP_VERSION);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (!path || optind != argc || (!show && (how.states || how.json)) || (show && check)) {
		fputs(usage, stderr);
		return 2;
	}
	ls_log_init("lockstep-agent", level);
	if (ls_fault_init("agent", &err) < 0)
		return fail(&err, 2);
	r = ls_agent_config_load(path, &config, &err);
	if (r < 0)
		return fail(&err, 2);
	r = show ? ls_show(config, &how) : check ? 0 : serve(config);
	ls_agent_config_free(config);
	return r;
}
