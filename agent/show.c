// SPDX-License-Identifier: Apache-2.0
#include "agent/show_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lockstep/v1/agent.pb-c.h"
#include "proto/wire/pb.h"

#define REQUEST_BUDGET (1024u * 1024u)

const char *show_status(const struct ls_ledger_record *record)
{
	if (record->conflict)
		return "CONFLICT";
	return record->done ? "over" : ls_word_open(record->word) ? "OPEN" : "UNFINISHED";
}

const char *show_method(unsigned method)
{
	static const char *const methods[] = { "unknown", "powered-off", "processes-killed" };

	return methods[method < 3 ? method : 0];
}

void show_time(uint64_t time_ms, char *ret, size_t size)
{
	time_t seconds = (time_t)(time_ms / 1000);
	struct tm tm;

	snprintf(ret, size, "?");
	if (gmtime_r(&seconds, &tm))
		strftime(ret, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void *grown(void *at, size_t n, size_t size)
{
	at = realloc(at, (n + 1) * size);
	if (!at)
		abort();
	memset((char *)at + n * size, 0, size);
	return at;
}

static void read_peer(const struct ls_ledger_record *record, char ret[LS_NAME_MAX])
{
	ProtobufCMessage *base = NULL;

	if (!record->request_len || ls_pb_unpack(&lockstep__v1__prepare_request__descriptor, REQUEST_BUDGET,
						 record->request, record->request_len, &base) < 0)
		return;
	snprintf(ret, LS_NAME_MAX, "%s", ((Lockstep__V1__PrepareRequest *)base)->peer_host);
	ls_pb_free(base);
}

static void on_record(void *user, const struct ls_ledger_record *record)
{
	struct show *s = user;
	struct show_migration *m;

	s->migration = grown(s->migration, s->n_migrations, sizeof(*m));
	m = &s->migration[s->n_migrations++];
	m->record = *record;
	read_peer(record, m->peer);
	m->record.request = NULL;
	m->cause = strdup(record->cause ? record->cause : "");
	if (!m->cause)
		abort();
	m->record.cause = m->cause;
}

static struct show_migration *find(struct show *s, const char *id)
{
	for (size_t i = 0; i < s->n_migrations; i++)
		if (strcmp(s->migration[i].record.migration, id) == 0)
			return &s->migration[i];
	return NULL;
}

static void on_word(void *user, const char *migration, enum ls_word word, uint64_t time_ms)
{
	struct show_migration *m = find(user, migration);

	if (m && m->n_words < sizeof(m->word) / sizeof(m->word[0]))
		m->word[m->n_words++] = (struct show_word){ word, time_ms };
}

static void on_claim(void *user, const struct ls_ledger_claim *claim)
{
	struct show_migration *m = find(user, claim->migration);

	if (!m)
		return;
	m->claim = grown(m->claim, m->n_claims, sizeof(*m->claim));
	m->claim[m->n_claims++] = *claim;
}

// Whoever has it keeps it: only a device that nobody has is opened.
static const char *ask_state(const struct ls_device_config *d, struct ls_error *err)
{
	const struct ls_provider *p = ls_provider_find(d->provider);
	const char *name = "not known";
	struct ls_dev *dev;
	int state;

	if (p->open(d->path, -1, &dev, err) < 0)
		return err->reason == LS_E_DEVICE_BUSY ? "in use" : name;
	if (p->get_state(dev, &state) == 0)
		name = ls_state_valid(state) ? ls_state_name(state) : name;
	p->close(dev);
	return name;
}

static void look(struct show_device *d, const struct ls_device_config *config, bool states)
{
	struct ls_error err = { .reason = LS_E_NONE };

	d->config = config;
	d->info.numa_node = -1;
	if (ls_provider_find(config->provider)->inspect(config->path, &d->info, &d->problem) < 0)
		return;
	memset(&d->problem, 0, sizeof(d->problem));
	if (!d->info.present)
		ls_fail(&d->problem, LS_E_DEVICE_ABSENT, 0, "nothing at %.200s", config->path);
	else if (states)
		d->state = ask_state(config, &err);
}

static void show_free(struct show *s)
{
	for (size_t i = 0; i < s->n_migrations; i++) {
		free(s->migration[i].cause);
		free(s->migration[i].claim);
	}
	free(s->migration);
	free(s->device);
}

int ls_show(const struct ls_agent_config *config, const struct ls_show_options *options)
{
	struct show s = { .config = config };
	const struct ls_ledger_reader reader = { .record = on_record, .claim = on_claim, .word = on_word, .user = &s };
	struct ls_error err;
	char text[512];
	int r;

	s.device = calloc(config->n_devices + 1, sizeof(*s.device));
	if (!s.device)
		abort();
	s.running = ls_ledger_in_use(config->ledger);
	for (unsigned i = 0; i < config->n_devices; i++)
		look(&s.device[i], &config->device[i], options->states);
	r = ls_ledger_read(config->ledger, &s.identity, &reader, &err);
	if (r < 0)
		fprintf(stderr, "lockstep-agent: %s\n", ls_error_text(&err, text, sizeof(text)));
	else if (options->json)
		r = show_as_json(&s);
	else
		show_as_text(&s);
	show_free(&s);
	return r < 0;
}
