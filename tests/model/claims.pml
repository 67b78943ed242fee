// SPDX-License-Identifier: Apache-2.0
// The claims of docs/decision.md. (a), (b), (d) are asserted after every step that could break them.

#if defined(LIES) && !defined(STRICT)
#define EXCUSED lied
#else
#define EXCUSED false
#endif

inline claim_m(m) {
	// (a)
	assert(EXCUSED || !(s_vm == RUNS && d_vm[m] == RUNS));
	// (b)
	assert(EXCUSED || d_vm[m] != RUNS || d_image[m] == RIGHT);
	// (d) a word that was spoken is on the disk, it or one that follows it
	assert(!token[m] || s_disk[m] == CONSENTED || s_disk[m] == RELEASED || s_disk[m] == RETURNING || s_disk[m] == RETURNED);
	assert(!returning[m] || s_disk[m] == RETURNING || s_disk[m] == RETURNED);
	assert(!(aborted[m] & BIT(d_ledger[m])) || d_disk[m] == ABORTED);
	assert(!(committed[m] & BIT(d_ledger[m])) || d_disk[m] == COMMITTED || d_disk[m] == STARTED || d_disk[m] == LOST);
	assert(!(started[m] & BIT(d_ledger[m])) || d_disk[m] == STARTED);
	// (d) and acted upon no earlier
	assert(d_vm[m] != RUNS || d_ledger[m] == 2 || d_disk[m] == COMMITTED || d_disk[m] == STARTED);
	// rule 4
	assert(s_disk[m] != RELEASED || d_ledger[m] == 2 || d_disk[m] == STARTED);
	// rule 8: whoever returns on a fence has its claim on record
	assert(!s_fenced[m] || s_claim[m])
}

inline check() {
#ifdef REACHED
	assert(!(REACHED)); // run.sh wants this to fail: the model gets there
#endif
	// (b)
	assert(s_vm != RUNS || s_devices);
	claim_m(0);
#if MIGRATIONS == 2
	claim_m(1);
	assert(d_vm[0] != RUNS || d_vm[1] != RUNS);
#endif
#ifdef TWO_COORDINATORS
	// rule 7: whoever took over knows all that is open where it has looked
	assert(!listed[0] || knows || !S_OPEN(0));
	assert(!listed[1] || knows || !D_OPEN(0))
#endif
}

#ifdef CALMS
// (c) over: the migration has ended on this side, or an operator is told why not.
#define OVER_S(m) (s_word[m] == NONE || s_word[m] == RETURNED || s_mute || (s_word[m] == RELEASED && s_vm == GONE) || \
		   (s_word[m] == RETURNING && s_vm == GONE) || \
		   (s_word[m] == CONSENTED && (d_mute[m] || d_hold[m] || d_word[m] == LOST || d_ledger[m] != s_peer[m])))
#define OVER_D(m) (d_word[m] == NONE || d_word[m] == ABORTED || d_word[m] == STARTED || d_mute[m] || d_hold[m] || \
		   d_word[m] == LOST || (d_asks[m] && (s_mute || d_ledger[m] != s_peer[m])))
ltl progress { (<> calm) -> (<> ([] (OVER_S(0) && OVER_D(0)))) }
#endif
