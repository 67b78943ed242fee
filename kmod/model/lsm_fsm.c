// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Migration states as tables: where a walk goes first, what each arc does. */
#include "lsm_priv.h"

#define NO (-EINVAL)

/* With all three flags; states that a device lacks are stepped over. */
static const int lsm_walk[8][8] = {
	/* to: ERROR STOP RUNNING STOP_COPY RESUMING RUNNING_P2P PRE_COPY PRE_COPY_P2P */
	[LSM_ERROR]	   = { NO, NO, NO, NO, NO, NO, NO, NO },
	[LSM_STOP]	   = { NO, 1, 5, 3, 4, 5, 5, 5 },
	[LSM_RUNNING]	   = { NO, 5, 2, 5, 5, 5, 6, 5 },
	[LSM_STOP_COPY]	   = { NO, 1, 1, 3, 1, 1, NO, NO },
	[LSM_RESUMING]	   = { NO, 1, 1, 1, 4, 1, 1, 1 },
	[LSM_RUNNING_P2P]  = { NO, 1, 2, 1, 1, 5, 2, 7 },
	[LSM_PRE_COPY]	   = { NO, 2, 2, 7, 2, 2, 6, 7 },
	[LSM_PRE_COPY_P2P] = { NO, 5, 5, 3, 5, 5, 6, 7 },
};

static bool lsm_state_exists(uint32_t flags, uint32_t state)
{
	switch (state) {
	case LSM_STOP:
	case LSM_RUNNING:
	case LSM_STOP_COPY:
	case LSM_RESUMING:
		return true;
	case LSM_RUNNING_P2P:
		return flags & LSM_MIG_P2P;
	case LSM_PRE_COPY:
		return flags & LSM_MIG_PRE_COPY;
	case LSM_PRE_COPY_P2P:
		return flags & LSM_MIG_PRE_COPY && flags & LSM_MIG_P2P;
	default:
		return false;
	}
}

int lsm_fsm_next(uint32_t mig_flags, uint32_t cur, uint32_t new_state)
{
	int next;

	if (!lsm_state_exists(mig_flags, cur) ||
	    !lsm_state_exists(mig_flags, new_state))
		return -EINVAL;
	next = lsm_walk[cur][new_state];
	while (next > 0 && !lsm_state_exists(mig_flags, (uint32_t)next))
		next = lsm_walk[next][new_state];
	return next;
}

#define SUSPEND	 (LSM_DO_SUSPEND_INITIATOR | LSM_DO_SUSPEND_RESPONDER)
#define RESUME	 (LSM_DO_RESUME_RESPONDER | LSM_DO_RESUME_INITIATOR)

static const struct {
	uint8_t cur, next;
	uint32_t actions;
} lsm_arcs[] = {
	{ LSM_RUNNING, LSM_RUNNING_P2P, LSM_DO_SUSPEND_INITIATOR },
	{ LSM_RUNNING_P2P, LSM_STOP, LSM_DO_SUSPEND_RESPONDER },
	{ LSM_STOP, LSM_RUNNING_P2P, LSM_DO_RESUME_RESPONDER },
	{ LSM_RUNNING_P2P, LSM_RUNNING, LSM_DO_RESUME_INITIATOR },

	{ LSM_STOP, LSM_STOP_COPY, LSM_DO_SAVE_BEGIN },
	{ LSM_STOP_COPY, LSM_STOP, LSM_DO_SAVE_END },
	{ LSM_STOP, LSM_RESUMING, LSM_DO_LOAD_BEGIN },
	{ LSM_RESUMING, LSM_STOP, LSM_DO_LOAD_COMMIT },

	{ LSM_RUNNING, LSM_PRE_COPY, LSM_DO_PRECOPY_BEGIN },
	{ LSM_PRE_COPY, LSM_RUNNING, LSM_DO_SAVE_END },
	{ LSM_RUNNING_P2P, LSM_PRE_COPY_P2P, LSM_DO_PRECOPY_BEGIN },
	{ LSM_PRE_COPY_P2P, LSM_RUNNING_P2P, LSM_DO_SAVE_END },
	{ LSM_PRE_COPY, LSM_PRE_COPY_P2P, LSM_DO_SUSPEND_INITIATOR },
	{ LSM_PRE_COPY_P2P, LSM_PRE_COPY, LSM_DO_RESUME_INITIATOR },
	{ LSM_PRE_COPY_P2P, LSM_STOP_COPY,
	  LSM_DO_SUSPEND_RESPONDER | LSM_DO_SAVE_FINAL },

	/* Without P2P both halves go at once. */
	{ LSM_RUNNING, LSM_STOP, SUSPEND },
	{ LSM_STOP, LSM_RUNNING, RESUME },
	{ LSM_PRE_COPY, LSM_STOP_COPY, SUSPEND | LSM_DO_SAVE_FINAL },
};

uint32_t lsm_arc_actions(uint32_t mig_flags, uint32_t cur, uint32_t next)
{
	size_t i;

	if (cur == next || lsm_fsm_next(mig_flags, cur, next) != (int)next)
		return 0;
	for (i = 0; i < sizeof(lsm_arcs) / sizeof(lsm_arcs[0]); i++)
		if (lsm_arcs[i].cur == cur && lsm_arcs[i].next == next)
			return lsm_arcs[i].actions;
	return 0;
}
