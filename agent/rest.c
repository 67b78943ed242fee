// SPDX-License-Identifier: Apache-2.0
#include "agent/rest.h"

static uint64_t one(const struct ls_rest *d)
{
	uint64_t sent = d->before + d->sent, left = d->total > sent ? d->total - sent : 0;

	if (!d->sent || d->sending_ns < LS_REST_MEASURE_NS)
		return 0;
	return (uint64_t)((double)left * (double)d->sending_ns / (double)d->sent);
}

uint64_t ls_rest_ns(const struct ls_rest *device, unsigned n, uint64_t load_ns)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < n; i++)
		if (one(&device[i]) > most)
			most = one(&device[i]);
	return most + load_ns;
}
