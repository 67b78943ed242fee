// SPDX-License-Identifier: Apache-2.0
#include "common/fsm.h"

#include <errno.h>

// One letter a state, so that the table below can be read as one.
enum {
	e = LS_STATE_ERROR, // the request is refused
	S = LS_STATE_STOP,
	R = LS_STATE_RUNNING,
	C = LS_STATE_STOP_COPY,
	L = LS_STATE_RESUMING, // loads
	Q = LS_STATE_RUNNING_P2P, // quiet
	P = LS_STATE_PRE_COPY,
	B = LS_STATE_PRE_COPY_P2P, // both
};

// First state on the way, for a device with every capability. For a device with fewer the states it lacks are
// stepped over: their own rows tell the way on. STOP_COPY -> PRE_COPY* is refused (K2: the kernel would hang).
static const unsigned char next_state[LS_STATE_COUNT][LS_STATE_COUNT] = {
	//                        to: ERROR S  R  C  L  Q  P  B
	[LS_STATE_ERROR] =         { e, e, e, e, e, e, e, e },
	[LS_STATE_STOP] =          { e, S, Q, C, L, Q, Q, Q },
	[LS_STATE_RUNNING] =       { e, Q, R, Q, Q, Q, P, Q },
	[LS_STATE_STOP_COPY] =     { e, S, S, C, S, S, e, e },
	[LS_STATE_RESUMING] =      { e, S, S, S, L, S, S, S },
	[LS_STATE_RUNNING_P2P] =   { e, S, R, S, S, Q, R, B },
	[LS_STATE_PRE_COPY] =      { e, R, R, B, R, R, P, B },
	[LS_STATE_PRE_COPY_P2P] =  { e, Q, Q, C, Q, Q, P, B },
};

static const unsigned needed_caps[LS_STATE_COUNT] = {
	[LS_STATE_ERROR] = ~0u, // no request leads there, none leads out
	[LS_STATE_STOP] = LS_CAP_STOP_COPY,
	[LS_STATE_RUNNING] = LS_CAP_STOP_COPY,
	[LS_STATE_STOP_COPY] = LS_CAP_STOP_COPY,
	[LS_STATE_RESUMING] = LS_CAP_STOP_COPY,
	[LS_STATE_RUNNING_P2P] = LS_CAP_STOP_COPY | LS_CAP_P2P,
	[LS_STATE_PRE_COPY] = LS_CAP_STOP_COPY | LS_CAP_PRE_COPY,
	[LS_STATE_PRE_COPY_P2P] = LS_CAP_STOP_COPY | LS_CAP_P2P | LS_CAP_PRE_COPY,
};

static const char *const names[LS_STATE_COUNT] = {
	"ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
};

static bool supported(unsigned flags, int state)
{
	return ls_state_valid(state) && (flags & needed_caps[state]) == needed_caps[state];
}

int ls_fsm_next(unsigned flags, int cur, int to)
{
	int next;

	if (flags & ~(LS_CAP_STOP_COPY | LS_CAP_P2P | LS_CAP_PRE_COPY))
		return -EINVAL;
	if (!supported(flags, cur) || !supported(flags, to))
		return -EINVAL;
	for (next = next_state[cur][to]; next != LS_STATE_ERROR && !supported(flags, next);)
		next = next_state[next][to];
	return next == LS_STATE_ERROR ? -EINVAL : next;
}

int ls_fsm_path(unsigned flags, int cur, int to, enum ls_state path[LS_FSM_PATH_MAX])
{
	int n, next;

	for (n = 0; (next = ls_fsm_next(flags, cur, to)) != cur; n++) {
		if (next < 0 || n == LS_FSM_PATH_MAX)
			return -EINVAL;
		path[n] = cur = next;
	}
	return n;
}

bool ls_fsm_opens_session(enum ls_state cur, enum ls_state next)
{
	return (next == LS_STATE_RESUMING && cur == LS_STATE_STOP) ||
	       (ls_state_saving(next) && !ls_state_saving(cur));
}

bool ls_state_valid(int state)
{
	return state >= 0 && state < LS_STATE_COUNT;
}

bool ls_state_saving(enum ls_state state)
{
	return state == LS_STATE_PRE_COPY || state == LS_STATE_PRE_COPY_P2P || state == LS_STATE_STOP_COPY;
}

bool ls_state_initiates(enum ls_state state)
{
	return state == LS_STATE_RUNNING || state == LS_STATE_PRE_COPY;
}

bool ls_state_deaf(enum ls_state state)
{
	return state == LS_STATE_ERROR || state == LS_STATE_STOP || state == LS_STATE_STOP_COPY ||
	       state == LS_STATE_RESUMING;
}

const char *ls_state_name(int state)
{
	return ls_state_valid(state) ? names[state] : "?";
}
