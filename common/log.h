// SPDX-License-Identifier: Apache-2.0
// Logs are events with fields: "devices.stopped migration=m1 device=nic0 ms=12.1". One line each on
// stderr, with systemd's <N> priority prefix when stderr goes to the journal, else with a time.
// Any thread. Library code logs at debug only.
#ifndef LS_COMMON_LOG_H
#define LS_COMMON_LOG_H

#include "common/error.h"

enum ls_log_level { LS_LOG_ERROR, LS_LOG_WARN, LS_LOG_INFO, LS_LOG_DEBUG };

// Process-wide, set once by main. `name` is kept, not copied.
void ls_log_init(const char *name, enum ls_log_level level);
int ls_log_level_parse(const char *text, enum ls_log_level *ret);

// fmt: "key=%s key=%d ...", or "". Values that may hold spaces go through LS_Q; control characters
// never reach the output, lines end at 2 KiB.
void ls_log(enum ls_log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// At level error; err's reason, host, device, arc, errno and message follow the fields of fmt.
void ls_log_error(const char *event, const struct ls_error *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

// "text" in double quotes, with \" \\ and \xNN; cut short where buf ends. Returns buf.
const char *ls_log_quote(char *buf, unsigned long size, const char *text);
// For one argument of a log call; lives until the end of the enclosing block.
#define LS_Q(text) ls_log_quote((char[288]){ 0 }, 288, (text))

#endif
