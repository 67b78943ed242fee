// SPDX-License-Identifier: Apache-2.0
#include "common/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME_SIZE 96u
#define ORDERS_MAX 16u
#define NAMES_MAX 256u
#define DELAY_MAX_MS 600000ul

static const struct {
	const char *name, *variants;
	bool may_fail;
} points[] = {
#define X(id, name, variants, may_fail) { name, variants, may_fail },
	LS_FAULT_POINTS(X)
#undef X
};

static const char *const actions[] = { "pass", "kill", "stop", "exit", "delay", "error" };
enum action { PASS, KILL, STOP, EXIT, DELAY, ERROR, ACTION_COUNT };

struct order {
	char name[NAME_SIZE];
	unsigned long at, value;
	enum action action;
};

bool ls_fault_on;
static struct order orders[ORDERS_MAX];
static unsigned n_orders;
static int log_fd = -1;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	char name[NAME_SIZE];
	unsigned long passes;
} passed[NAMES_MAX]; // under lock
static unsigned n_passed;

// ---- the table ----

typedef bool each_fn(const char *name, bool may_fail, void *user);

// Stops where `fn` says true, and says so.
static bool each_name(const char *daemon, each_fn *fn, void *user)
{
	size_t len = strlen(daemon);

	for (unsigned i = 0; i < LS_FAULT_COUNT; i++) {
		const char *variant = points[i].variants;
		char name[NAME_SIZE];

		if (strncmp(points[i].name, daemon, len) != 0 || points[i].name[len] != '.')
			continue;
		do {
			int n = (int)strcspn(variant, " ");
			snprintf(name, sizeof(name), "%s%s%.*s", points[i].name, n ? "." : "", n, variant);
			if (fn(name, points[i].may_fail, user))
				return true;
			variant += n + (variant[n] == ' ');
		} while (*variant);
	}
	return false;
}

static bool print(const char *name, bool may_fail, void *user)
{
	fprintf(user, "%s%s\n", name, may_fail ? " error" : "");
	return false;
}

void ls_fault_list(const char *daemon, FILE *to)
{
	each_name(daemon, print, to);
}

static bool has_variant(enum ls_fault_point point, const char *variant)
{
	const char *at = points[point].variants;
	size_t len = strlen(variant);

	while (*at) {
		size_t n = strcspn(at, " ");
		if (n == len && strncmp(at, variant, n) == 0)
			return true;
		at += n + (at[n] == ' ');
	}
	return false;
}

// ---- what the environment asks for ----

static bool same(const char *name, bool may_fail, void *user)
{
	struct order *o = user;

	if (strcmp(name, o->name) != 0)
		return false;
	if (!may_fail && o->action == ERROR)
		o->action = ACTION_COUNT;
	return true;
}

static bool number(const char *text, unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *ret >= 1 && *ret <= max;
}

static bool errno_number(const char *text, unsigned long *ret)
{
	if (number(text, 4095, ret))
		return true;
	for (int e = 1; e < 4096; e++)
		if (strcmp(ls_errno_name(e), text) == 0) {
			*ret = (unsigned long)e;
			return true;
		}
	return false;
}

static bool parse_action(char *text, struct order *o)
{
	char *value = strchr(text, ':');

	if (value)
		*value++ = '\0';
	for (o->action = KILL; o->action < ACTION_COUNT; o->action++)
		if (strcmp(actions[o->action], text) == 0)
			break;
	switch (o->action) {
	case DELAY:
		return value && number(value, DELAY_MAX_MS, &o->value);
	case ERROR:
		return value && errno_number(value, &o->value);
	default:
		return o->action < ACTION_COUNT && !value;
	}
}

static int parse(const char *daemon, char *text, struct ls_error *err)
{
	struct order *o = &orders[n_orders];
	char whole[128];
	char *action = strchr(text, '='), *at;

	snprintf(whole, sizeof(whole), "%s", text);
	if (n_orders == ORDERS_MAX)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "LOCKSTEP_FAULT: more than %u orders", ORDERS_MAX);
	if (!action)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "LOCKSTEP_FAULT: \"%s\" is not NAME[#N]=ACTION", whole);
	*action++ = '\0';
	o->at = 1;
	at = strchr(text, '#');
	if (at)
		*at++ = '\0';
	if (at && !number(at, 1000000000, &o->at))
		return ls_fail(err, LS_E_CONFIG, EINVAL, "LOCKSTEP_FAULT: \"%s\": #N wants 1 to 1000000000", whole);
	if (!parse_action(action, o))
		return ls_fail(err, LS_E_CONFIG, EINVAL,
			       "LOCKSTEP_FAULT: \"%s\": kill, stop, exit, delay:MS (1 to %lu) or error:ERRNO is wanted",
			       whole, DELAY_MAX_MS);
	snprintf(o->name, sizeof(o->name), "%s", text);
	if (!each_name(daemon, same, o))
		return ls_fail(err, LS_E_CONFIG, EINVAL, "LOCKSTEP_FAULT: no fault point \"%s\" here: see --faults",
			       o->name);
	if (o->action == ACTION_COUNT)
		return ls_fail(err, LS_E_CONFIG, EINVAL, "LOCKSTEP_FAULT: %s cannot fail, only die, freeze or wait",
			       o->name);
	n_orders++;
	return 0;
}

int ls_fault_init(const char *daemon, struct ls_error *err)
{
	const char *wanted = getenv("LOCKSTEP_FAULT"), *path = getenv("LOCKSTEP_FAULT_LOG");
	char *text, *save = NULL;
	int r = 0;

	if (wanted && *wanted) {
		text = strdup(wanted);
		if (!text)
			return ls_fail(err, LS_E_RESOURCE, ENOMEM, "out of memory");
		for (char *one = strtok_r(text, ",", &save); one && r == 0; one = strtok_r(NULL, ",", &save))
			r = parse(daemon, one, err);
		free(text);
		if (r == 0 && n_orders == 0)
			r = ls_fail(err, LS_E_CONFIG, EINVAL, "LOCKSTEP_FAULT: \"%.100s\" is not NAME[#N]=ACTION",
				    wanted);
	}
	if (r == 0 && path && *path) {
		log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
		if (log_fd < 0)
			return ls_fail(err, LS_E_CONFIG, errno, "LOCKSTEP_FAULT_LOG: %.180s: %s", path,
				       strerror(errno));
	}
	ls_fault_on = r == 0 && (n_orders > 0 || log_fd >= 0);
	return r;
}

// ---- passing by ----

static unsigned long count(const char *name)
{
	unsigned i = 0;

	while (i < n_passed && strcmp(passed[i].name, name) != 0)
		i++;
	if (i == NAMES_MAX)
		abort(); // the table has grown beyond it
	if (i == n_passed)
		strcpy(passed[n_passed++].name, name);
	return ++passed[i].passes;
}

static void announce(const char *name, unsigned long n, enum action action)
{
	char line[NAME_SIZE + 40];
	int len = snprintf(line, sizeof(line), "%s #%lu %s\n", name, n, actions[action]);

	if (log_fd >= 0 && write(log_fd, line, (size_t)len) < 0)
		return; // nobody listens any more
}

int ls_fault_pass(enum ls_fault_point point, const char *variant)
{
	const struct order *due = NULL;
	char name[NAME_SIZE];
	unsigned long n;

	if (variant ? !has_variant(point, variant) : points[point].variants[0] != '\0')
		abort();
	snprintf(name, sizeof(name), "%s%s%s", points[point].name, variant ? "." : "", variant ? variant : "");
	pthread_mutex_lock(&lock);
	n = count(name);
	for (unsigned i = 0; i < n_orders && !due; i++)
		if (orders[i].at == n && strcmp(orders[i].name, name) == 0)
			due = &orders[i];
	announce(name, n, due ? due->action : PASS);
	pthread_mutex_unlock(&lock);
	if (!due)
		return 0;
	switch (due->action) {
	case KILL:
		kill(getpid(), SIGKILL);
		break;
	case STOP:
		kill(getpid(), SIGSTOP);
		break;
	case EXIT:
		_exit(1);
	case DELAY:
		nanosleep(&(struct timespec){ .tv_sec = (time_t)(due->value / 1000),
					      .tv_nsec = (long)(due->value % 1000) * 1000000 }, NULL);
		break;
	case ERROR:
		return -(int)due->value;
	default:
		break;
	}
	return 0;
}

int ls_fault_pass_fail(enum ls_fault_point point, const char *variant, enum ls_reason reason, struct ls_error *err)
{
	int r = ls_fault_pass(point, variant);

	return r < 0 ? ls_fail(err, reason, -r, "%s fails on purpose", points[point].name) : 0;
}
