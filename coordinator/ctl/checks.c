// SPDX-License-Identifier: Apache-2.0
// The rows of a plan. What refuses the move comes first, then what is to be known, then what is well.
#include <stdio.h>
#include <string.h>

#include "coordinator/ctl/ctl.h"

#define ROW_PASS LOCKSTEP__V1__CHECK__RESULT__PASS
#define ROW_WARN LOCKSTEP__V1__CHECK__RESULT__WARN
#define ROW_FAIL LOCKSTEP__V1__CHECK__RESULT__FAIL
#define DEVICE_WIDTH_MAX 12 // a longer name has a line of its own

struct widths {
	int id, device; // device 0: no column for it
};

static void print_row(const char *word, struct widths w, const char *id, const char *device, const char *seen)
{
	char label[200];

	if (w.device)
		snprintf(label, sizeof(label), "%s  %-*s  %-*s  ", word, w.id, id, w.device, device[0] ? device : "-");
	else
		snprintf(label, sizeof(label), "%s  %-*s  ", word, w.id, id);
	ctl_wrap(CTL_INDENT, label, seen);
}

static void widen(struct widths *w, const Lockstep__V1__Check *c)
{
	int id = (int)strlen(c->id), device = c->device[0] ? (int)strlen(c->device) : 1;

	w->id = id > w->id ? id : w->id;
	w->device = device > w->device ? device : w->device;
	if (w->device > DEVICE_WIDTH_MAX)
		w->device = DEVICE_WIDTH_MAX;
}

static void print_rows(Lockstep__V1__Check **check, size_t n, Lockstep__V1__Check__Result result, const char *word,
		       struct widths w)
{
	for (size_t i = 0; i < n; i++) {
		if (check[i]->result != result)
			continue;
		print_row(word, w, check[i]->id, check[i]->device, check[i]->seen);
		if (check[i]->remedy[0])
			ctl_wrap(CTL_INDENT + 6, "remedy: ", check[i]->remedy);
	}
}

// One line for all passed rows of check[first]'s id; nothing if `first` is not their first.
static void print_sum(Lockstep__V1__Check **check, size_t n, size_t first, struct widths w)
{
	const Lockstep__V1__Check *c = check[first];
	unsigned count = 0;
	bool alike = true;
	char text[600];

	for (size_t i = 0; i < n; i++) {
		if (check[i]->result != ROW_PASS || strcmp(check[i]->id, c->id) != 0)
			continue;
		if (i < first)
			return;
		count++;
		alike = alike && strcmp(check[i]->seen, c->seen) == 0;
	}
	if (count == 1)
		snprintf(text, sizeof(text), "%s%s%s", c->device, c->device[0] ? ": " : "", c->seen);
	else
		snprintf(text, sizeof(text), "%u %s%s%s", count,
			 c->device[0]			       ? "devices"
			 : strncmp(c->id, "host.", 5) == 0 ? "hosts"
							       : "times",
			 alike ? ": " : "", alike ? c->seen : "");
	print_row("PASS", w, c->id, "", text);
}

void ctl_print_checks(Lockstep__V1__Check **check, size_t n, enum ctl_passes passes)
{
	struct widths full = {0}, sum = {0};

	for (size_t i = 0; i < n; i++) {
		if (check[i]->result != ROW_PASS || passes == CTL_PASSES_ALL)
			widen(&full, check[i]);
		else
			widen(&sum, check[i]);
	}
	if (passes == CTL_PASSES_SUM)
		full.id = sum.id = full.id > sum.id ? full.id : sum.id;
	sum.device = 0;
	print_rows(check, n, ROW_FAIL, "FAIL", full);
	print_rows(check, n, ROW_WARN, "WARN", full);
	if (passes == CTL_PASSES_ALL)
		print_rows(check, n, ROW_PASS, "PASS", full);
	for (size_t i = 0; i < n && passes == CTL_PASSES_SUM; i++)
		if (check[i]->result == ROW_PASS)
			print_sum(check, n, i, sum);
}
