// SPDX-License-Identifier: Apache-2.0
#include "agent/show.h"

#include <stdio.h>
#include <time.h>

#include "agent/ledger.h"
#include "agent/provider.h"

static void show_device(const struct ls_device_config *d)
{
	struct ls_dev_info info = { .numa_node = -1 };
	struct ls_error err;
	char text[512];

	if (ls_provider_find(d->provider)->inspect(d->path, &info, &err) < 0)
		printf("device %s vm=%s slot=%s %s\n", d->name, d->vm, d->slot, ls_error_text(&err, text, sizeof(text)));
	else if (!info.present)
		printf("device %s vm=%s slot=%s absent path=%s\n", d->name, d->vm, d->slot, d->path);
	else
		printf("device %s vm=%s slot=%s driver=%s type=%s numa=%d\n", d->name, d->vm, d->slot, info.driver, info.type,
		       info.numa_node);
}

static void show_record(void *user, const struct ls_ledger_record *record)
{
	time_t seconds = (time_t)(record->created_ms / 1000);
	struct tm tm;
	char when[32] = "?";

	if (gmtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("migration %s vm=%s side=%s word=%s%s begun=%s term=%llu coordinator=%s\n", record->migration, record->vm,
	       record->side == LS_SIDE_SOURCE ? "source" : "destination", ls_word_name(record->word),
	       record->done ? "" : ls_word_open(record->word) ? " OPEN" : " UNFINISHED", when, (unsigned long long)record->term, record->coordinator);
}

static void show_claim(void *user, const struct ls_ledger_claim *claim)
{
	static const char *const methods[] = { "?", "powered-off", "processes-killed" };

	printf("claim %s host=%s method=%s actor=%s evidence=\"%s\"\n", claim->migration, claim->host,
	       methods[claim->method < 3 ? claim->method : 0], claim->actor, claim->evidence);
}

int ls_show(const struct ls_agent_config *config)
{
	char text[512];
	struct ls_ledger_identity identity;
	struct ls_error err;

	printf("host %s\n", config->host);
	for (unsigned i = 0; i < config->n_devices; i++)
		show_device(&config->device[i]);
	if (ls_ledger_read(config->ledger, &identity, show_record, show_claim, NULL, &err) < 0) {
		fprintf(stderr, "lockstep-agent: %s\n", ls_error_text(&err, text, sizeof(text)));
		return 1;
	}
	printf("ledger %s id=%s\n", config->ledger, identity.id);
	return 0;
}
