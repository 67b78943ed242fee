// SPDX-License-Identifier: Apache-2.0
// lockstep-testvmm: a process that is a VM to its devices. README.md says how to use it.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/vmm/agent_link.h"
#include "tests/vmm/control.h"
#include "tests/vmm/net.h"

#define AGENT_RETRY_MS 200

static const char usage[] =
	"usage: lockstep-testvmm --vm NAME --agent SOCKET --device NAME=PATH... [options]\n"
	"       lockstep-testvmm --ask SOCKET COMMAND...\n"
	"  --vfio WAY             group or cdev (device files and iommufd, where the kernel has them); or the agent opens the\n"
	"                         devices: given, given-group, given-cdev\n"
	"  --sim SOCKET           devices are those of the simulated host there; else PATH is a sysfs path\n"
	"  --incoming             wait for a VM instead of booting one\n"
	"  --ram-listen HOST:PORT take RAM there (port 0: any; the line vmm.ram-listen says which)\n"
	"  --ram-peer HOST:PORT   send RAM there\n"
	"  --ram MIB              guest RAM, 2..4096 (32)\n"
	"  --ring N               descriptors of each device's ring, 1024..65536 (16384)\n"
	"  --ballast KIB          of each device's memory, filled at boot (512)\n"
	"  --control SOCKET       take commands there\n"
	"  --no-stdin             take no commands from stdin\n"
	"  --stall-ms MS          an engine that does not move for so long stands still, 100..60000 (3000)\n";

struct options {
	struct tv_vm_options vm;
	const char *agent, *sim, *vfio, *ram_listen, *ram_peer, *control;
	unsigned long stall_ms;
	bool no_stdin;
	unsigned n_devices;
	const char *device[TV_MAX_DEVICES];
};

static void die(const char *why)
{
	fprintf(stderr, "lockstep-testvmm: %s\n%s", why, usage);
	exit(2);
}

static unsigned long number(const char *text, unsigned long min, unsigned long max, const char *what)
{
	char *end, why[100];
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || end == text || *end || v < min || v > max) {
		snprintf(why, sizeof(why), "%s: want a number from %lu to %lu", what, min, max);
		die(why);
	}
	return v;
}

// Sends one command to a running VMM's control socket and prints its answer.
static int ask(char **words)
{
	char line[256] = "", buf[4096];
	ssize_t n;
	bool bad = false, first = true;
	int fd = tv_unix_connect(words[0], SOCK_STREAM);

	if (fd < 0) {
		fprintf(stderr, "lockstep-testvmm: %s: %s\n", words[0], strerror(-fd));
		return 2;
	}
	for (char **w = words + 1; *w; w++) {
		strncat(line, *w, sizeof(line) - strlen(line) - 2);
		strcat(line, w[1] ? " " : "\n");
	}
	if (tv_send_all(fd, line, strlen(line)))
		return 2;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (first)
			bad = !strncmp(buf, "error", 5) || !strncmp(buf, "{\"ok\":false", 11);
		first = false;
		fwrite(buf, 1, (size_t)n, stdout);
	}
	close(fd);
	return bad || (first && strcmp(words[1] ? words[1] : "", "quit"));
}

// VmmDevicesBy; 0: the VMM opens its devices itself.
static int given_by(const char *way)
{
	static const char *const ways[] = { "given", "given-group", "given-cdev" };

	for (int i = 0; i < 3; i++)
		if (!strcmp(way, ways[i]))
			return i + 1;
	return 0;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "vm", 1, NULL, 'v' },         { "agent", 1, NULL, 'a' },      { "device", 1, NULL, 'd' },
		{ "sim", 1, NULL, 's' },        { "incoming", 0, NULL, 'i' },   { "ram-listen", 1, NULL, 'l' },
		{ "ram-peer", 1, NULL, 'p' },   { "ram", 1, NULL, 'm' },        { "ring", 1, NULL, 'r' },
		{ "ballast", 1, NULL, 'b' },    { "control", 1, NULL, 'c' },    { "no-stdin", 0, NULL, 'n' },
		{ "stall-ms", 1, NULL, 't' },   { "ask", 1, NULL, 'k' },        { "help", 0, NULL, 'h' },
		{ "vfio", 1, NULL, 'w' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'v': o->vm.name = optarg; break;
		case 'a': o->agent = optarg; break;
		case 's': o->sim = optarg; break;
		case 'w': o->vfio = optarg; break;
		case 'i': o->vm.incoming = true; break;
		case 'l': o->ram_listen = optarg; break;
		case 'p': o->ram_peer = optarg; break;
		case 'm': o->vm.ram_bytes = (uint64_t)number(optarg, 2, 4096, "--ram") << 20; break;
		case 'r': o->vm.ring_size = (unsigned)number(optarg, 1024, LSM_RING_MAX, "--ring"); break;
		case 'b': o->vm.ballast = (uint32_t)number(optarg, 0, LSM_MEM_MAX >> 10, "--ballast") << 10; break;
		case 'c': o->control = optarg; break;
		case 'n': o->no_stdin = true; break;
		case 't': o->stall_ms = number(optarg, 100, 60000, "--stall-ms"); break;
		case 'k': exit(ask(argv + optind - 1));
		case 'h': fputs(usage, stdout); exit(0);
		case 'd':
			if (o->n_devices == TV_MAX_DEVICES)
				die("too many devices");
			o->device[o->n_devices++] = optarg;
			break;
		default: die("unknown option");
		}
	}
	if (o->vfio && strcmp(o->vfio, "group") && strcmp(o->vfio, "cdev") && !given_by(o->vfio))
		die("--vfio: group, cdev, given, given-group or given-cdev");
	if (o->vfio && given_by(o->vfio) && !o->agent)
		die("--vfio given: by which --agent?");
	if (optind != argc || !o->vm.name || !o->n_devices)
		die("--vm and --device are needed, and nothing but options");
}

struct world {
	const struct options *o;
	struct tv_vm vm;
	struct tv_control control;
	int agent, ram_listener;
};

static void connect_agent(struct world *w, bool first)
{
	struct ls_error err = { 0 };
	struct tv_hello hello = {
		.vm = w->vm.name,
		.incoming = w->vm.state == TV_INCOMING || w->vm.state == TV_READY,
		.ram_bytes = w->vm.ram.size,
	};

	w->agent = tv_agent_connect(w->o->agent, &hello, &err);
	if (w->agent >= 0)
		tv_event("vmm.connected vm=%s", w->vm.name);
	else if (first)
		ls_log_error("vmm.no-agent", &err, "vm=%s", w->vm.name);
}

static void serve_agent(struct world *w)
{
	struct ls_error err = { 0 };

	if (!tv_agent_serve(w->agent, &w->vm, &err))
		return;
	ls_log_error("vmm.agent-lost", &err, "vm=%s", w->vm.name);
	close(w->agent);
	w->agent = -1;
}

static void accept_ram(struct world *w)
{
	int fd = accept4(w->ram_listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (w->vm.state == TV_INCOMING) {
		tv_ram_receive(&w->vm.ram, fd);
		return;
	}
	ls_log(LS_LOG_WARN, "vmm.ram-refused", "vm=%s state=%s", w->vm.name, tv_state_name(w->vm.state));
	close(fd);
}

static void run(struct world *w)
{
	bool first = true;

	while (!w->control.quit && w->vm.state != TV_GONE) {
		struct pollfd fds[TV_CLIENTS + 3];
		nfds_t n;

		if (w->agent < 0 && w->o->agent) {
			connect_agent(w, first);
			first = false;
		}
		fds[0] = (struct pollfd){ .fd = w->agent, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = w->ram_listener, .events = POLLIN };
		n = tv_control_poll(&w->control, fds + 2);
		if (poll(fds, 2 + n, w->agent < 0 && w->o->agent ? AGENT_RETRY_MS : -1) <= 0)
			continue;
		if (fds[0].revents)
			serve_agent(w);
		if (fds[1].revents)
			accept_ram(w);
		tv_control_serve(&w->control, fds + 2, n);
	}
	tv_control_state_changed(&w->control);
}

static const struct tv_backend *backend(const struct options *o)
{
	const char *path = strchr(o->device[0], '=');

	if (o->sim)
		return &tv_backend_sim;
	if (o->vfio && !given_by(o->vfio))
		return strcmp(o->vfio, "cdev") ? &tv_backend_group : &tv_backend_cdev;
	return path && tv_cdev_there(path + 1) ? &tv_backend_cdev : &tv_backend_group;
}

// With devices that the agent gives: asked for before the VM starts, acknowledged when it has.
static int start_given(struct world *w, const struct options *o, struct ls_error *err)
{
	struct tv_hello hello = {
		.vm = o->vm.name,
		.incoming = o->vm.incoming,
		.ram_bytes = o->vm.ram_bytes,
		.devices_by = given_by(o->vfio),
	};
	uint32_t id;
	int r;

	w->agent = tv_agent_connect(o->agent, &hello, err);
	if (w->agent < 0)
		return w->agent;
	r = tv_agent_take(w->agent, &w->vm.bus, &id, err);
	if (!r)
		r = tv_vm_start(&w->vm, &o->vm, err);
	if (!r && tv_agent_taken(w->agent, id))
		r = ls_fail(err, LS_E_UNAVAILABLE, EPIPE, "the agent has hung up");
	if (!r)
		tv_event("vmm.connected vm=%s", w->vm.name);
	return r;
}

static int start(struct world *w, const struct options *o, struct ls_error *err)
{
	char bound[128];
	int r = 0;

	tv_bus_init(&w->vm.bus, backend(o), o->sim);
	for (unsigned i = 0; i < o->n_devices && !r; i++)
		r = tv_bus_add(&w->vm.bus, o->device[i], err);
	if (o->ram_peer)
		snprintf(w->vm.ram_peer, sizeof(w->vm.ram_peer), "%s", o->ram_peer);
	if (!r && o->ram_listen) {
		w->ram_listener = tv_listen(o->ram_listen, bound, sizeof(bound));
		if (w->ram_listener < 0)
			return ls_fail(err, LS_E_RESOURCE, -w->ram_listener, "cannot listen on %s", o->ram_listen);
		tv_event("vmm.ram-listen address=%s", bound);
	}
	if (!r)
		r = o->vfio && given_by(o->vfio) ? start_given(w, o, err) : tv_vm_start(&w->vm, &o->vm, err);
	if (!r)
		r = tv_control_init(&w->control, &w->vm, o->control, !o->no_stdin, (unsigned)o->stall_ms, err);
	return r;
}

int main(int argc, char **argv)
{
	static struct world w = { .agent = -1, .ram_listener = -1, .control.listener = -1 };
	struct options o = {
		.vm = { .ram_bytes = 32u << 20, .ring_size = 16384, .ballast = 512u << 10 },
		.stall_ms = 3000,
	};
	struct ls_error err = { 0 };
	char text[512];

	parse(argc, argv, &o);
	signal(SIGPIPE, SIG_IGN);
	ls_log_init("lockstep-testvmm", LS_LOG_INFO);
	w.o = &o;
	if (start(&w, &o, &err)) {
		fprintf(stderr, "lockstep-testvmm: %s\n", ls_error_text(&err, text, sizeof(text)));
		return 1;
	}
	run(&w);
	tv_vm_free(&w.vm);
	tv_control_free(&w.control);
	return 0;
}
