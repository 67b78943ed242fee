// SPDX-License-Identifier: Apache-2.0
// Tables and paragraphs for a terminal of 80 columns.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/ctl/ctl.h"

#define FIRST_LEAST 12u
#define DAY 86400

void ctl_row(struct ctl_table *t, const char *fmt, ...)
{
	char *line, *rest, *cell;
	unsigned i = 0;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&line, fmt, ap) < 0)
		abort();
	va_end(ap);
	t->cell = realloc(t->cell, (t->rows + 1) * sizeof(*t->cell));
	if (!t->cell)
		abort();
	memset(t->cell[t->rows], 0, sizeof(t->cell[0]));
	for (rest = line; i < CTL_COLUMNS && (cell = strsep(&rest, "\t")); i++)
		t->cell[t->rows][i] = strdup(cell);
	if (i > t->columns)
		t->columns = i;
	t->rows++;
	free(line);
}

// Where to cut a word of n characters that must not be longer than `most`: behind the last separator, if there is one.
static unsigned cut(const char *word, unsigned most)
{
	for (unsigned i = most; i > most / 2; i--)
		if (strchr("/:,=-", word[i - 1]))
			return i;
	return most;
}

// Prints words until the line is full, then goes on at `indent`. `at`: the column that has been reached.
static void wrapped(FILE *to, const char *text, unsigned at, unsigned indent)
{
	bool first = true;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (!first && at + 1 + n > CTL_WIDTH) {
			fprintf(to, "\n%*s", (int)indent, "");
			at = indent;
			first = true;
		}
		if (!first)
			at += (unsigned)fprintf(to, " ");
		// A word longer than a line is cut into lines.
		while (at < CTL_WIDTH && n > CTL_WIDTH - at && CTL_WIDTH > indent + 8) {
			unsigned piece = cut(text, CTL_WIDTH - at);

			fprintf(to, "%.*s\n%*s", (int)piece, text, (int)indent, "");
			text += piece;
			n -= piece;
			at = indent;
		}
		at += (unsigned)fprintf(to, "%.*s", (int)n, text);
		text += n;
		while (*text == ' ')
			text++;
		first = false;
	}
	fputc('\n', to);
}

void ctl_wrap(unsigned indent, const char *label, const char *text)
{
	size_t n = strlen(label);
	unsigned at = indent + (unsigned)n;

	// A label that leaves no room has a line of its own.
	if (at > CTL_WIDTH / 2) {
		while (n && label[n - 1] == ' ')
			n--;
		at = indent + 6;
		printf("%*s%.*s\n%*s", (int)indent, "", (int)n, label, (int)at, "");
	} else {
		printf("%*s%s", (int)indent, "", label);
	}
	wrapped(stdout, text, at, at);
}

void ctl_complain(const char *text)
{
	unsigned at = (unsigned)fprintf(stderr, "lockstepctl: ");

	// One line where a program reads it, words kept whole where somebody does.
	if (isatty(2))
		wrapped(stderr, text, at, at);
	else
		fprintf(stderr, "%s\n", text);
}

// A table that is too wide gives its first column less room: a name that needs more has a line of its own.
static void narrow(const struct ctl_table *t, unsigned width[CTL_COLUMNS])
{
	unsigned rest = 0;

	for (unsigned i = 1; i < t->columns; i++)
		rest += 2 + width[i];
	if (t->columns > 1 && width[0] + rest > CTL_WIDTH)
		width[0] = rest + FIRST_LEAST < CTL_WIDTH ? CTL_WIDTH - rest : FIRST_LEAST;
}

void ctl_table_end(struct ctl_table *t)
{
	unsigned width[CTL_COLUMNS] = {0};

	for (unsigned r = 0; r < t->rows; r++)
		for (unsigned i = 0; i < t->columns; i++) {
			unsigned n = t->cell[r][i] ? (unsigned)strlen(t->cell[r][i]) : 0;

			if (n > width[i])
				width[i] = n;
		}
	narrow(t, width);
	for (unsigned r = 0; r < t->rows; r++) {
		unsigned at = 0;

		for (unsigned i = 0; i < t->columns; i++) {
			const char *cell = t->cell[r][i] ? t->cell[r][i] : "";

			if (i + 1 == t->columns && !t->right[i])
				wrapped(stdout, cell, at, at);
			else if (!i && strlen(cell) > width[0])
				at += (unsigned)(printf("%s\n%*s", cell, (int)width[0], "") - (int)strlen(cell) - 1);
			else
				at += (unsigned)printf(t->right[i] ? "%*s" : "%-*s", (int)width[i], cell);
			if (i + 1 < t->columns)
				at += (unsigned)printf("  ");
			else if (t->right[i])
				putchar('\n');
			free(t->cell[r][i]);
		}
	}
	free(t->cell);
	*t = (struct ctl_table){0};
}

const char *ctl_size(uint64_t bytes, char buf[16])
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes;
	unsigned i = 0;

	while (v >= 1024 && i < 4) {
		v /= 1024;
		i++;
	}
	snprintf(buf, 16, i && v < 100 ? "%.1f %s" : "%.0f %s", v, unit[i]);
	return buf;
}

const char *ctl_ms(double ms, char buf[16])
{
	snprintf(buf, 16, ms < 100 ? "%.2f ms" : "%.0f ms", ms);
	return buf;
}

const char *ctl_time(uint64_t unix_ms, char buf[24])
{
	time_t t = (time_t)(unix_ms / 1000);
	struct tm tm;

	if (!unix_ms || !localtime_r(&t, &tm))
		return "-";
	strftime(buf, 24, "%Y-%m-%d %H:%M:%S", &tm);
	return buf;
}

const char *ctl_when(uint64_t unix_ms, char buf[24])
{
	time_t t = (time_t)(unix_ms / 1000), age = time(NULL) - t;
	struct tm tm;

	if (!unix_ms || !localtime_r(&t, &tm))
		return "-";
	strftime(buf, 24, age < -DAY || age > 180 * DAY ? "%Y-%m-%d" : "%m-%d %H:%M", &tm);
	return buf;
}
