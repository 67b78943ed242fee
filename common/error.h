// SPDX-License-Identifier: Apache-2.0
// The one error object. A function that can fail takes `struct ls_error *err` last (may be NULL),
// fills it once where the cause is known and returns a negative errno. Callers pass it on.
#ifndef LS_COMMON_ERROR_H
#define LS_COMMON_ERROR_H

#include <stdarg.h>

// Stable reason codes: part of the API (ErrorDetail.reason), never renamed.
#define LS_REASONS(X)                                                                             \
	X(NONE)              /* no error */                                                       \
	X(INTERNAL)          /* a bug here */                                                     \
	X(INVALID)           /* a malformed file, flag, message or frame */                       \
	X(CONFIG)            /* a configuration file */                                           \
	X(NOT_FOUND)         /* unknown host, VM, device or migration */                          \
	X(ALREADY_EXISTS)    /* same migration id, other request */                               \
	X(VM_BUSY)           /* another migration holds this VM or device (rule 7) */             \
	X(STALE_COORDINATOR) /* a lower term, or an equal one of another coordinator (rule 7) */  \
	X(UNAVAILABLE)       /* a host or process does not answer */                              \
	X(DEADLINE)          /* the blackout's deadline cannot be kept */                         \
	X(CANCELLED)         /* by the client */                                                  \
	X(NOT_FEASIBLE)      /* a check of the plan failed */                                     \
	X(DEVICE_ABSENT)     /* */                                                                \
	X(DEVICE_BUSY)       /* opened by someone else */                                         \
	X(NOT_MIGRATABLE)    /* no migration v2 */                                                \
	X(V1_ONLY)           /* the deprecated migration region only (K1) */                      \
	X(BAD_STATE)         /* a device is not where it should be */                             \
	X(ARC_FAILED)        /* SET_STATE answered an error */                                    \
	X(ARC_STUCK)         /* SET_STATE does not return */                                      \
	X(RESET_FAILED)      /* VFIO_DEVICE_RESET answered an error */                            \
	X(SAVE_FAILED)       /* reading data_fd */                                                \
	X(LOAD_FAILED)       /* writing data_fd, or RESUMING -> STOP */                           \
	X(STREAM_BROKEN)     /* connection lost, cut short */                                     \
	X(DIGEST_MISMATCH)   /* received bytes are not the sent ones */                           \
	X(GUEST_RESET)       /* the guest reset the device during pre-copy (K5) */                \
	X(VMM_FAILED)        /* the VMM answered an error, or died */                             \
	X(VMM_ABSENT)        /* no VMM of this VM is connected */                                 \
	X(PEER_ABORTED)      /* the other side gave up first */                                   \
	X(LEDGER)            /* ledger or store cannot be read or written */                      \
	X(LEDGER_LOST)       /* a word from another ledger than the one prepared (rule 9) */      \
	X(LOST_AFTER_COMMIT) /* rule 6 */                                                         \
	X(CONFLICT)          /* rule 8 */                                                         \
	X(SCHEDULE_INVALID)  /* schedule_verify() refused it */                                   \
	X(LIMIT)             /* a configured or fixed bound */                                    \
	X(RESOURCE)          /* memory, file descriptors, threads */                              \
	X(PERMISSION)

enum ls_reason {
#define X(name) LS_E_##name,
	LS_REASONS(X)
#undef X
	LS_E_COUNT
};

struct ls_error {
	enum ls_reason reason;
	int err;           // positive errno, 0 if none
	char device[64];   // empty: concerns no single device
	char arc[40];      // "RUNNING -> RUNNING_P2P", or empty
	char host[64];     // filled by whoever relays it
	char message[256]; // one sentence, no newline, no trailing dot
};

// "ARC_FAILED" and back. ls_reason_parse: LS_E_INTERNAL for an unknown name.
const char *ls_reason_name(enum ls_reason reason);
enum ls_reason ls_reason_parse(const char *name);

// Fills *err (if not NULL; clears all other fields) and returns -errno_value (or -EIO if 0).
int ls_fail(struct ls_error *err, enum ls_reason reason, int errno_value, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

// Adds the device (and arc) that a filled error is about; NULL leaves the field alone.
void ls_error_at(struct ls_error *err, const char *device, const char *arc);

// One line: "REASON: host a: device nic0: RUNNING -> STOP: message (ETIMEDOUT)". Returns buf.
const char *ls_error_text(const struct ls_error *err, char *buf, unsigned long size);

// "ETIMEDOUT", kernel-internal ones such as "ENOTSUPP" too, or "unknown errno"; valid for ever.
const char *ls_errno_name(int errno_value);

#endif
