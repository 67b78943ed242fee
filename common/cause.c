// SPDX-License-Identifier: Apache-2.0
#include "common/cause.h"

enum ls_cause_rank ls_cause_rank(enum ls_reason reason)
{
	switch (reason) {
	case LS_E_NONE:
		return LS_CAUSE_NONE;
	case LS_E_STREAM_BROKEN:
	case LS_E_UNAVAILABLE:
		return LS_CAUSE_SILENCE;
	case LS_E_PEER_ABORTED:
		return LS_CAUSE_HEARSAY;
	default:
		return LS_CAUSE_OWN;
	}
}

bool ls_cause_beats(enum ls_reason later, enum ls_reason first)
{
	return ls_cause_rank(later) > ls_cause_rank(first);
}
