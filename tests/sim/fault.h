// SPDX-License-Identifier: Apache-2.0
// What may go wrong. Whether the n-th occasion for a kind of fault is taken depends on seed, kind and n alone,
// so that a run can be repeated with single faults left out (shrinking).
#ifndef LS_TESTS_SIM_FAULT_H
#define LS_TESTS_SIM_FAULT_H

#include <stdbool.h>
#include <stdint.h>

// name, what it is, highest rate per 10,000 occasions, where no scene says otherwise (scene.c)
#define SIM_FAULTS(X)                                                              \
	X(ARC_ERRNO, "arc-errno", 500)         /* an arc answers an error */          \
	X(ARC_ERROR, "arc-error-state", 300)   /* an arc ends in ERROR */             \
	X(ARC_SLOW, "arc-slow", 600)           /* an arc takes up to 300 ms */        \
	X(ARC_STUCK, "arc-stuck", 300)         /* an arc does not return for long */  \
	X(READ_STUCK, "read-stuck", 600)       /* a device's state is read or written for long */ \
	X(TOO_SLOW, "too-slow", 5000)          /* the rest is known not to fit the deadline */ \
	X(GUEST_RESET, "guest-reset", 4000)    /* the guest resets a device in pre-copy */ \
	X(STREAM, "stream", 600)               /* a device's stream breaks */         \
	X(BENT, "bent", 600)                   /* what arrives is not what was sent */ \
	X(VMM_ERROR, "vmm-error", 1500)         /* a VMM answers an error */           \
	X(SYNC_LOST, "sync-lost", 1000)         /* a sync fails, nothing was written */ \
	X(SYNC_KEPT, "sync-kept", 1200)         /* a sync fails, and yet it is there */ \
	X(DIAL, "dial", 4000)                  /* a connection is refused */          \
	X(LINK, "link", 1500)                   /* the agents' connection breaks */    \
	X(CALL_LOST, "call-lost", 800)         /* a call never arrives */             \
	X(CALL_LATE, "call-late", 800)         /* a call arrives seconds later, out of order */ \
	X(CALL_TWICE, "call-twice", 800)       /* a call arrives twice */             \
	X(ANSWER_LOST, "answer-lost", 800)     /* applied, but the answer was lost */ \
	X(WATCH, "watch", 400)                 /* an event stream breaks */           \
	X(STORE_SYNC, "store-sync", 60)        /* a coordinator dies at its disk */   \
	X(STORE_FAILS, "store-fails", 100)     /* a coordinator's disk is full for a while */ \
	X(KILL_COORD, "kill-coordinator", 60)                                         \
	X(KILL_SOURCE, "kill-source-agent", 60)                                       \
	X(KILL_DEST, "kill-destination-agent", 60)                                    \
	X(KILL_SOURCE_VMM, "kill-source-vmm", 30)                                     \
	X(KILL_DEST_VMM, "kill-destination-vmm", 30)                                  \
	X(FREEZE_COORD, "freeze-coordinator", 60)                                     \
	X(FREEZE_SOURCE, "freeze-source-agent", 60)                                   \
	X(FREEZE_DEST, "freeze-destination-agent", 60)                                \
	X(FREEZE_SOURCE_VMM, "freeze-source-vmm", 60)                                 \
	X(FREEZE_DEST_VMM, "freeze-destination-vmm", 60)                              \
	X(FREEZE_SOURCE_HOST, "freeze-source-host", 60)                               \
	X(FREEZE_DEST_HOST, "freeze-destination-host", 60)                            \
	X(STOP_SOURCE, "stop-source-agent", 40) /* told to: it unwinds or finishes, and ends */ \
	X(STOP_DEST, "stop-destination-agent", 40)                                    \
	X(POWER_SOURCE, "power-source", 30)                                           \
	X(POWER_DEST, "power-destination", 30)                                        \
	X(CUT_COORD_SOURCE, "cut-coordinator-source", 60)                             \
	X(CUT_COORD_DEST, "cut-coordinator-destination", 60)                          \
	X(CUT_AGENTS, "cut-source-destination", 60)                                   \
	X(ISOLATE_DEST, "isolate-destination", 60) /* nobody reaches it */             \
	X(REINSTALL_SOURCE, "reinstall-source-agent", 20) /* a new ledger, the VM lives on */ \
	X(REINSTALL_DEST, "reinstall-destination-agent", 20)                          \
	X(LEDGER_LOST_SOURCE, "ledger-lost-source", 20)                               \
	X(LEDGER_LOST_DEST, "ledger-lost-destination", 20)                            \
	X(LEDGER_OLD_SOURCE, "ledger-old-source", 20)                                 \
	X(LEDGER_OLD_DEST, "ledger-old-destination", 20)                              \
	X(STORE_LOST, "store-lost", 30)                                               \
	X(STORE_OLD, "store-old", 30)                                                 \
	X(SECOND_COORD, "second-coordinator", 30)                                     \
	X(CANCEL, "cancel", 60)                                                       \
	X(HASTE, "haste", 300)                 /* a second migration before the first is over */ \
	X(FALSE_FENCE, "false-fence", 5000)    /* the operator's claim is wrong */

enum sim_fault {
#define X(id, name, rate) SIM_##id,
	SIM_FAULTS(X)
#undef X
	SIM_FAULT_COUNT
};

#define SIM_FIRED_MAX 256

struct sim_fired {
	enum sim_fault kind;
	uint64_t occasion;
};

// Faults that a repeated run does without, and a run with fewer devices.
struct sim_leave_out {
	unsigned n, devices; // devices: 0 as the seed says
	struct sim_fired at[SIM_FIRED_MAX];
};

struct sim_faults {
	unsigned rate[SIM_FAULT_COUNT], moment[SIM_FAULT_COUNT]; // moment: the rate at the scene's moment, if higher
	uint64_t occasion[SIM_FAULT_COUNT];
	unsigned n;
	struct sim_fired fired[SIM_FIRED_MAX];
	const struct sim_leave_out *leave_out;
};

struct world;

void sim_faults_init(struct world *w);
bool sim_fault(struct world *w, enum sim_fault kind);
bool sim_fault_likely(const struct world *w, enum sim_fault kind); // may it happen in this run?
const char *sim_fault_name(enum sim_fault kind);

#endif
