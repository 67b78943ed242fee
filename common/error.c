// SPDX-License-Identifier: Apache-2.0
#include "common/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const reason_names[LS_E_COUNT] = {
#define X(name) [LS_E_##name] = #name,
	LS_REASONS(X)
#undef X
};

const char *ls_reason_name(enum ls_reason reason)
{
	return (unsigned)reason < LS_E_COUNT ? reason_names[reason] : reason_names[LS_E_INTERNAL];
}

enum ls_reason ls_reason_parse(const char *name)
{
	for (unsigned i = 0; name && i < LS_E_COUNT; i++)
		if (strcmp(name, reason_names[i]) == 0)
			return i;
	return LS_E_INTERNAL;
}

int ls_fail(struct ls_error *err, enum ls_reason reason, int errno_value, const char *fmt, ...)
{
	if (err) {
		// The arguments may point into *err itself, where a caller rewords an error.
		char message[sizeof(err->message)];
		va_list args;

		va_start(args, fmt);
		vsnprintf(message, sizeof(message), fmt, args);
		va_end(args);
		*err = (struct ls_error){ .reason = reason, .err = errno_value };
		memcpy(err->message, message, sizeof(message));
	}
	return errno_value ? -errno_value : -EIO;
}

void ls_error_at(struct ls_error *err, const char *device, const char *arc)
{
	if (!err)
		return;
	if (device)
		snprintf(err->device, sizeof(err->device), "%s", device);
	if (arc)
		snprintf(err->arc, sizeof(err->arc), "%s", arc);
}

// As snprintf, at *used and on; *used never passes size.
static void append(char *buf, size_t size, size_t *used, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void append(char *buf, size_t size, size_t *used, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(buf + *used, size - *used, fmt, args);
	va_end(args);
	if (n > 0)
		*used += (size_t)n < size - *used ? (size_t)n : size - *used - 1;
}

const char *ls_error_text(const struct ls_error *err, char *buf, unsigned long size)
{
	size_t used = 0;

	if (size == 0)
		return "";
	append(buf, size, &used, "%s", ls_reason_name(err->reason));
	if (err->host[0])
		append(buf, size, &used, ": host %s", err->host);
	if (err->device[0])
		append(buf, size, &used, ": device %s", err->device);
	if (err->arc[0])
		append(buf, size, &used, ": %s", err->arc);
	if (err->message[0])
		append(buf, size, &used, ": %s", err->message);
	if (err->err && strerrorname_np(err->err))
		append(buf, size, &used, " (%s)", strerrorname_np(err->err));
	else if (err->err)
		append(buf, size, &used, " (%s %d)", ls_errno_name(err->err), err->err);
	return buf;
}

const char *ls_errno_name(int errno_value)
{
	const char *name = strerrorname_np(errno_value);

	if (name)
		return name;
	// Kernel-internal numbers that drivers let slip out.
	switch (errno_value) {
	case 512: return "ERESTARTSYS";
	case 513: return "ERESTARTNOINTR";
	case 514: return "ERESTARTNOHAND";
	case 515: return "ENOIOCTLCMD";
	case 516: return "ERESTART_RESTARTBLOCK";
	case 517: return "EPROBE_DEFER";
	case 524: return "ENOTSUPP";
	case 529: return "EIOCBQUEUED";
	default: return "unknown errno";
	}
}
