// SPDX-License-Identifier: Apache-2.0
// For people, in 80 columns.
#include "agent/show_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 80
#define INDENT 12

// "  LABEL   TEXT", broken at blanks; what has none is broken anywhere.
static void row(const char *label, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void row(const char *label, const char *fmt, ...)
{
	char text[1200], *at = text;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	do {
		size_t n = strlen(at), cut;
		if (n > WIDTH - INDENT) {
			for (n = WIDTH - INDENT, cut = n; cut && at[cut] != ' '; cut--)
				;
			n = cut ? cut : n;
		}
		printf("%-*s%.*s\n", INDENT, label, (int)n, at);
		at += n;
		at += *at == ' ';
		label = "";
	} while (*at);
}

static void device(const struct show_device *d)
{
	char text[512];

	printf("device %s\n", d->config->name);
	row("  of", "VM %s, slot %s", d->config->vm, d->config->slot);
	row("  at", "%s", d->config->path);
	if (d->problem.reason)
		row("  problem", "%s", ls_error_text(&d->problem, text, sizeof(text)));
	else
		row("  is", "%s %s%s%s", d->info.driver, d->info.type, d->state ? ", " : "", d->state ? d->state : "");
}

static void migration(const struct show_migration *m)
{
	const struct ls_ledger_record *r = &m->record;
	char when[32];

	printf("migration %s\n", r->migration);
	row("  of", "VM %s, this host is the %s%s%s", r->vm, r->side == LS_SIDE_SOURCE ? "source" : "destination",
	    m->peer[0] ? ", the other is " : "", m->peer);
	row("  word", "%s, %s", ls_word_name(r->word), show_status(r));
	for (unsigned i = 0; i < m->n_words; i++) {
		show_time(m->word[i].time_ms, when, sizeof(when));
		row("", "%s %s", when, ls_word_name(m->word[i].word));
	}
	if (r->term)
		row("  ordered", "by %s, term %llu", r->coordinator, (unsigned long long)r->term);
	if (m->cause[0])
		row("  ended", "%s", m->cause);
	for (unsigned i = 0; i < m->n_claims; i++) {
		show_time(m->claim[i].time_ms, when, sizeof(when));
		row("  fence", "%s says that %s was fenced (%s): %s", m->claim[i].actor, m->claim[i].host,
		    show_method(m->claim[i].method), m->claim[i].evidence);
		row("", "%s", when);
	}
	if (r->conflict)
		row("  CONFLICT", "both sides may run the VM: see the runbook, then close it");
}

void show_as_text(const struct show *s)
{
	printf("host %s\n", s->config->host);
	row("  agent", "%s", s->running ? "runs" : "does not run");
	row("  ledger", "%s", s->identity.id);
	row("", "%s", s->config->ledger);
	if (s->identity.term)
		row("  follows", "%s, term %llu", s->identity.coordinator, (unsigned long long)s->identity.term);
	for (unsigned i = 0; i < s->config->n_devices; i++)
		device(&s->device[i]);
	for (size_t i = 0; i < s->n_migrations; i++)
		migration(&s->migration[i]);
}
