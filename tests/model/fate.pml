// SPDX-License-Identifier: Apache-2.0
// What the world does to S and D, and what operators do. Nothing here is bounded in number but the ledgers.

// The agent of S dies and starts again; its VM and devices stay (fd store).
inline s_restart() {
	s_mute = false;
	for (i : 0 .. MIGRATIONS - 1) {
		s_word[i] = s_disk[i];
		if
		:: s_word[i] == ACTIVE -> // rule 3
#ifdef NO_RULE_3_RESTART
			s_left[i] = true
#else
			follows(ACTIVE, RETURNING);
			s_disk[i] = RETURNING;
			s_word[i] = RETURNING
#endif
		:: else
		fi
	}
	i = 0;
	forget_term(0);
	check()
}

// The agent of D dies and starts again: rule 6.
inline d_restart(m) {
	d_mute[m] = false;
	d_word[m] = d_disk[m];
	ask[m] = false;
	answer[m] = false;
	d_hold[m] = false;
	d_conflict[m] = false;
	forget_term(1 + m);
	if
	:: d_word[m] == UNDECIDED ->
#ifndef NO_RULE_6_ABORT
		follows(UNDECIDED, ABORTED);
		d_disk[m] = ABORTED;
		d_word[m] = ABORTED
#else
		if
		:: d_image[m] == RIGHT -> d_image[m] = WRONG // took some of its devices with it
		:: true
		fi
#endif
	:: d_word[m] == COMMITTED && d_vm[m] != RUNS ->
#ifndef NO_RULE_6_ASK
		d_asks[m] = true;
#endif
		if
		:: d_vm[m] != RUNS -> d_image[m] = EMPTY // no fd store: LOST_AFTER_COMMIT
		:: true
		fi
	:: else
	fi;
	check()
}

// A replaced disk or a reinstalled agent: it knows nothing, and has another id.
inline d_replace(m) {
	d_ledger[m] = 2;
	d_disk[m] = NONE;
	d_word[m] = NONE;
	d_mute[m] = false;
	d_asks[m] = false;
	d_hold[m] = false;
	d_conflict[m] = false;
#ifdef CALMS
	d_spoke[m] = false;
#endif
	ask[m] = false;
	answer[m] = false;
	if
	:: d_vm[m] != RUNS -> d_image[m] = EMPTY; d_vm[m] = WAITS
	:: else // the agent is gone, its VMM is not
	fi
}

proctype Fate(byte m)
{
	byte i;
	do
	:: atomic { !calm -> s_restart() }
	:: atomic { !calm && s_vm != GONE -> // S's host loses power
		s_vm = GONE;
		s_devices = false;
		s_restart() }
	:: atomic { !calm && !d_down[m] -> d_restart(m) }
	:: atomic { !calm && !d_down[m] && d_vm[m] != GONE -> // D's host loses power, or its VMM dies
		d_vm[m] = GONE;
		d_image[m] = EMPTY;
		d_restart(m) }
#ifdef FENCES
	:: atomic { !calm && !d_down[m] ->
		d_down[m] = true;
		d_vm[m] = GONE;
		d_image[m] = EMPTY }
	:: atomic { d_down[m] ->
		d_down[m] = false;
		if
		:: d_word[m] != COMMITTED -> d_vm[m] = WAITS
		:: else
		fi;
		d_restart(m) }
#endif
#ifdef LEDGERS
	:: atomic { !calm && !d_down[m] && d_ledger[m] == 1 -> d_replace(m) }
#endif
#ifdef CALMS
	:: atomic { !calm && !d_down[m] -> calm = true; break }
#endif
	od
}

#ifdef FENCES
proctype Operator()
{
	byte m;
	do
	:: atomic { !fence[m] && s_disk[m] == CONSENTED && (d_down[m] || d_disk[m] == LOST) -> fence[m] = true }
#ifdef LIES
	:: atomic { !fence[m] && s_disk[m] == CONSENTED && !d_down[m] && d_disk[m] != LOST ->
		fence[m] = true;
		lied = true }
#endif
	od
}
#endif

#ifdef CALMS
proctype Time() { bit tick; do :: tick = 1 - tick od } // goes on when nothing else does
#endif

init {
	atomic {
		run S(0);
		run D(0);
		run C(0, 0);
#if MIGRATIONS == 2
		run C(0, 1);
		run S(1);
		run D(1);
#endif
#ifdef TWO_COORDINATORS
		run C(1, 0);
#endif
#ifdef FENCES
		run Operator();
#endif
#ifdef CALMS
		run Time();
#endif
		run Fate(0);
#if MIGRATIONS == 2
		run Fate(1)
#endif
	}
}
