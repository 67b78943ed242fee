// SPDX-License-Identifier: Apache-2.0
// What the verbs of lockstepctl share: the call, the table, the JSON, the exit codes.
#ifndef LS_CTL_CTL_H
#define LS_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "lockstep/v1/migration.pb-c.h"
#include "proto/rpc/rpc_pb.h"

enum { CTL_DONE = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_NOT_FEASIBLE = 3, CTL_OPERATOR = 4 };

#define CTL_WIDTH 80u
#define CTL_INDENT 2u

struct ctl {
	const char *server;
	bool json;
	uint64_t timeout_ms; // of one call
	bool tty;
	bool unsure; // the call that failed last may have been carried out
	uv_loop_t loop;
	struct ls_rpc_channel *channel;
};

struct ctl_verb {
	const char *name, *arguments, *summary, *help; // help: lines about options; may be ""
	int (*run)(struct ctl *c, int argc, char **argv);
};
extern const struct ctl_verb ctl_hosts, ctl_devices, ctl_dry_run, ctl_migrate, ctl_status, ctl_list, ctl_watch,
	ctl_cancel, ctl_release, ctl_resolve;

// ---- arguments ----

struct ctl_option {
	const char *name; // without dashes
	enum { CTL_TEXT, CTL_NUMBER, CTL_FLAG, CTL_GATES } kind;
	void *to; // const char **, uint64_t *, bool *, uint32_t * (mask of 1 << gate)
	bool required;
};
// Splits into options and exactly n positional arguments. 0, or CTL_USAGE after a line on stderr.
int ctl_parse(const struct ctl_verb *verb, int argc, char **argv, const struct ctl_option *options, unsigned n_options,
	      const char **positional, unsigned n_positional);
// Who asks: $SUDO_USER or $USER; with fewer than 64 characters.
const char *ctl_actor(char buf[64]);
int ctl_usage(const struct ctl_verb *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// ---- calls ----

// Waits for the answer; *ret is to be freed with ls_pb_free(). 0, or an exit code after the error was printed;
// c->unsure says whether the coordinator may have done it all the same.
int ctl_call(struct ctl *c, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
	     ProtobufCMessage **ret);
// Runs `fn` for each message of the stream; true ends it, with LS_RPC_OK; else *ret_status tells
// how the stream ended, and *err why.
typedef bool ctl_message_fn(void *user, const ProtobufCMessage *message);
void ctl_stream(struct ctl *c, const char *method, const ProtobufCMessage *request,
		const ProtobufCMessageDescriptor *type, ctl_message_fn *fn, void *user, enum ls_rpc_status *ret_status,
		struct ls_error *err);
// "lockstepctl: TEXT" on stderr.
void ctl_complain(const char *text);
int ctl_print_error(const struct ctl *c, enum ls_rpc_status status, const struct ls_error *err);

// ---- output ----

void ctl_print_json(const ProtobufCMessage *message, bool one_line);

#define CTL_COLUMNS 8
struct ctl_table {
	unsigned columns, rows;
	bool right[CTL_COLUMNS]; // numbers
	char *(*cell)[CTL_COLUMNS];
};
// `fmt` cells are separated by '\t'.
void ctl_row(struct ctl_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Prints with aligned columns, the last one wrapped to CTL_WIDTH, and frees. A first cell that is too long has a line
// of its own.
void ctl_table_end(struct ctl_table *t);
// Prints `label` at `indent`, then text wrapped behind it.
void ctl_wrap(unsigned indent, const char *label, const char *text);
const char *ctl_size(uint64_t bytes, char buf[16]);   // "1.5 MiB"
const char *ctl_ms(double ms, char buf[16]);	      // "12.3 ms"
const char *ctl_time(uint64_t unix_ms, char buf[24]); // local, "2026-01-31 12:00:00"
const char *ctl_when(uint64_t unix_ms, char buf[24]); // "01-31 12:00", and "2025-01-31" of long ago

const char *ctl_phase(Lockstep__V1__Phase phase); // "blackout"
// FAIL and WARN rows in full. PASS rows: not at all, one line for each id, or in full.
enum ctl_passes { CTL_PASSES_NONE, CTL_PASSES_SUM, CTL_PASSES_ALL };
void ctl_print_checks(Lockstep__V1__Check **check, size_t n, enum ctl_passes passes);
void ctl_print_schedule(const Lockstep__V1__Schedule *schedule, const char *source, const char *dest);
void ctl_print_estimate(const Lockstep__V1__Estimate *e);
void ctl_print_problem(const Lockstep__V1__ErrorDetail *e); // one wrapped paragraph
// Steps, devices, blackout, verdict.
void ctl_print_report(const Lockstep__V1__Migration *m);
int ctl_exit_code(const Lockstep__V1__Migration *m);
bool ctl_ended(const Lockstep__V1__Migration *m);

// ---- following a migration ----

// Prints what changes until it has ended, then the report. Exit code.
int ctl_follow(struct ctl *c, const char *id);

#endif
