// SPDX-License-Identifier: Apache-2.0
// Which of several errors is the cause. Pure.
//
// One failure shows in many places: a device's own error here, a stream that breaks there, an agent that gives up
// because the other one did. The first that says by itself what went wrong is the cause; what merely follows from
// another failure is one only until that is heard of.
#ifndef LS_COMMON_CAUSE_H
#define LS_COMMON_CAUSE_H

#include <stdbool.h>

#include "common/error.h"

enum ls_cause_rank {
	LS_CAUSE_NONE,
	LS_CAUSE_SILENCE, // a connection or a process is gone, nobody said why
	LS_CAUSE_HEARSAY, // the other side gave up, for a reason of its own
	LS_CAUSE_OWN      // it says what went wrong
};

enum ls_cause_rank ls_cause_rank(enum ls_reason reason);
// Is `later` the cause although `first` was heard of first?
bool ls_cause_beats(enum ls_reason later, enum ls_reason first);

#endif
