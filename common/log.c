// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static struct {
	const char *name;
	enum ls_log_level level;
	bool journal;
} logger = { .name = "lockstep", .level = LS_LOG_INFO };

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const int syslog_levels[] = { 3, 4, 6, 7 };

// systemd sets JOURNAL_STREAM to "DEVICE:INODE" of the pipe that it reads; somebody may have redirected stderr since.
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

void ls_log_init(const char *name, enum ls_log_level level)
{
	logger.name = name;
	logger.level = level;
	logger.journal = stderr_is_journal();
}

int ls_log_level_parse(const char *text, enum ls_log_level *ret)
{
	for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *ls_log_quote(char *buf, unsigned long size, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;

	if (size < 3)
		return "\"\"";
	buf[used++] = '"';
	// Room for one escape, the closing quote and the NUL.
	for (const char *p = text ? text : ""; *p && used + 6 <= size; p++) {
		unsigned char c = *p;

		if (c == '"' || c == '\\') {
			buf[used++] = '\\';
			buf[used++] = c;
		} else if (c < 0x20 || c == 0x7f) {
			buf[used++] = '\\';
			buf[used++] = 'x';
			buf[used++] = hex[c >> 4];
			buf[used++] = hex[c & 15];
		} else {
			buf[used++] = c;
		}
	}
	buf[used++] = '"';
	buf[used] = 0;
	return buf;
}

static size_t prefix(char *line, size_t size, enum ls_log_level level, const char *event)
{
	struct timespec now;
	struct tm tm;
	char text[32];

	if (logger.journal)
		return snprintf(line, size, "<%d>%s", syslog_levels[level], event);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	return snprintf(line, size, "%s.%03ldZ %s %s %s", text, now.tv_nsec / 1000000, logger.name,
			level_names[level], event);
}

// One write a line: lines of several threads and processes do not mix.
static void emit(enum ls_log_level level, const char *event, const char *fmt, va_list args, const char *tail)
{
	char line[LINE_MAX_BYTES];
	const size_t size = sizeof(line) - 1; // for the newline
	size_t used = prefix(line, size, level, event);
	int n;

	if (used >= size)
		used = size - 1;
	if (fmt[0] && used + 2 < size) {
		line[used++] = ' ';
		n = vsnprintf(line + used, size - used, fmt, args);
		used += n < 0 ? 0 : (size_t)n < size - used ? (size_t)n : size - used - 1;
	}
	n = snprintf(line + used, size - used, "%s", tail);
	used += (size_t)n < size - used ? (size_t)n : size - used - 1;
	for (size_t i = 0; i < used; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[used++] = '\n';
	// Nobody is left to tell if this fails.
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}

void ls_log(enum ls_log_level level, const char *event, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	if (level > logger.level)
		return;
	va_start(args, fmt);
	emit(level, event, fmt, args, "");
	va_end(args);
	errno = saved;
}

void ls_log_error(const char *event, const struct ls_error *err, const char *fmt, ...)
{
	int saved = errno;
	char tail[768], device[96] = "", arc[64] = "", host[96] = "", number[48] = "";
	va_list args;

	if (err->host[0])
		snprintf(host, sizeof(host), " host=%s", err->host);
	if (err->device[0])
		snprintf(device, sizeof(device), " device=%s", err->device);
	if (err->arc[0])
		snprintf(arc, sizeof(arc), " arc=\"%s\"", err->arc);
	if (err->err)
		snprintf(number, sizeof(number), " errno=%s(%d)", ls_errno_name(err->err), err->err);
	snprintf(tail, sizeof(tail), " reason=%s%s%s%s%s message=%s", ls_reason_name(err->reason), host, device, arc,
		 number, LS_Q(err->message));
	va_start(args, fmt);
	emit(LS_LOG_ERROR, event, fmt, args, tail);
	va_end(args);
	errno = saved;
}
