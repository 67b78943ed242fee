// SPDX-License-Identifier: Apache-2.0
// The migration state machine of a VFIO device, as a table. Pure. Source: K2,
// <linux/vfio.h>, tests/fsm-oracle.csv.
#ifndef LS_COMMON_FSM_H
#define LS_COMMON_FSM_H

#include <stdbool.h>

// VFIO_DEVICE_STATE_*
enum ls_state {
	LS_STATE_ERROR = 0,
	LS_STATE_STOP = 1,
	LS_STATE_RUNNING = 2,
	LS_STATE_STOP_COPY = 3,
	LS_STATE_RESUMING = 4,
	LS_STATE_RUNNING_P2P = 5,
	LS_STATE_PRE_COPY = 6,
	LS_STATE_PRE_COPY_P2P = 7,
	LS_STATE_COUNT
};

// VFIO_MIGRATION_*
#define LS_CAP_STOP_COPY 1u
#define LS_CAP_P2P 2u
#define LS_CAP_PRE_COPY 4u

// Longest walk, in arcs.
#define LS_FSM_PATH_MAX 8

// First state on the way from `cur` to `to`; `cur` itself if they are equal; -EINVAL where the
// request must be refused (also: flags other than 1, 3, 5, 7, states out of range).
int ls_fsm_next(unsigned flags, int cur, int to);

// The whole walk: path[0] is the first state after `cur`. Number of arcs (0 if equal) or -EINVAL.
int ls_fsm_path(unsigned flags, int cur, int to, enum ls_state path[LS_FSM_PATH_MAX]);

// Does the arc cur -> next hand out a new data_fd (K4)? Both adjacent.
bool ls_fsm_opens_session(enum ls_state cur, enum ls_state next);

bool ls_state_valid(int state);              // 0..7
bool ls_state_saving(enum ls_state state);   // PRE_COPY, PRE_COPY_P2P, STOP_COPY
bool ls_state_initiates(enum ls_state s);    // may start P2P writes: RUNNING, PRE_COPY
bool ls_state_deaf(enum ls_state state);     // loses what is written to it: ERROR, STOP, STOP_COPY, RESUMING
const char *ls_state_name(int state);        // "RUNNING_P2P"; "?" out of range

#endif
