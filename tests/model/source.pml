// SPDX-License-Identifier: Apache-2.0
// The source's agent, in one migration: rules 1, 3, 4, 5, 8.

inline s_resume() { // every image taken before is out of date from here on
	s_vm = RUNS;
	for (i : 0 .. MIGRATIONS - 1) {
		if
		:: d_image[i] == RIGHT && d_vm[i] != RUNS -> d_image[i] = STALE
		:: else
		fi
	}
	i = 0;
	check()
}

#ifdef NO_RULE_7_BUSY
#define VM_FREE(m) true
#elif MIGRATIONS == 2
#define VM_FREE(m) (!S_OPEN(1 - m))
#else
#define VM_FREE(m) true
#endif

inline let_go(m) {
	assert(s_disk[m] == RELEASED); // rules 4 and 8
	s_vm = GONE;
	s_devices = false
}

// Rule 1: does the request agree with what S sent, and with the ledger that was prepared?
#ifdef NO_RULE_1_COMPARE
#define AGREES(m) (request[m] != 0)
#elif defined(NO_RULE_9)
#define AGREES(m) (request[m] & (ASKED(1, 1) | ASKED(2, 1)))
#else
#define AGREES(m) (request[m] & ASKED(s_peer[m], 1))
#endif

// Rule 3: what lets S take the VM back after CONSENTED.
#ifdef NO_RULE_9
#define HEARD(word, m) (word[m] != 0)
#else
#define HEARD(word, m) (word[m] & BIT(s_peer[m]))
#endif
#if defined(NO_RULE_3_ALONE)
#define MAY_RETURN(m) true
#elif defined(NO_RULE_8_FENCE)
#define MAY_RETURN(m) (HEARD(aborted, m) || !(started[m] || committed[m]))
#else
#define MAY_RETURN(m) HEARD(aborted, m)
#endif

#ifdef NO_RULE_8_WRITE
#define CLAIM_KEPT false
#else
#define CLAIM_KEPT true
#endif

proctype S(byte m)
{
	byte i;
end:	do
	// Prepare: S learns the id of D's ledger.
	:: atomic { !s_mute && s_word[m] == NONE && s_vm == RUNS && VM_FREE(m) && MAY(prepare_s[m], 0) ->
		obey(prepare_s[m], 0);
		s_peer[m] = prepare_s[m] / 4;
		s_write(m, ACTIVE) }
	// The blackout begins: the VM is paused, its devices go to STOP.
	:: atomic { !s_mute && s_word[m] == ACTIVE && s_vm == RUNS -> s_vm = STANDS }
	// Rule 1: consent.
	:: atomic { !s_mute && s_word[m] == ACTIVE && !s_left[m] && AGREES(m) -> s_write(m, CONSENTED) }
	:: atomic { !s_mute && s_word[m] == CONSENTED && SPEAK_ONCE(s_spoke, m, !token[m]) ->
#ifdef CALMS
		s_spoke[m] = true;
		if
		:: token[m] = s_peer[m]
		:: !calm // lost
		fi;
#else
		token[m] = s_peer[m];
#endif
		check() }
	// Rule 3: alone, at any moment while ACTIVE: a deadline, a failure, a broken connection, S's own agent
	// restarted.
	:: atomic { !s_mute && s_word[m] == ACTIVE && !s_left[m] -> s_write(m, RETURNING) }
#ifdef TWO_COORDINATORS
	:: atomic { !s_mute && s_word[m] == ACTIVE && MAY(unwind[m], 0) ->
		obey(unwind[m], 0);
		s_write(m, RETURNING) }
#endif
	// Rule 3: consented, so only on D's ABORTED.
	:: atomic { !s_mute && s_word[m] == CONSENTED && MAY_RETURN(m) -> s_write(m, RETURNING) }
	// The unwind, then its last word.
#ifdef NO_RULE_3_WRITE
	:: atomic { !s_mute && s_word[m] == ACTIVE && s_vm == STANDS -> s_resume() }
#endif
	:: atomic { !s_mute && s_word[m] == RETURNING && s_vm == STANDS -> s_resume() }
	:: atomic { !s_mute && s_word[m] == RETURNING && s_vm == RUNS -> s_write(m, RETURNED) }
	:: atomic { !s_mute && (s_word[m] == RETURNING || s_word[m] == RETURNED) && !returning[m] ->
		returning[m] = true;
		check() }
	// Rule 4: release on STARTED, then let go.
	:: atomic { !s_mute && s_word[m] == CONSENTED && HEARD(started, m) -> s_write(m, RELEASED) }
	:: atomic { !s_mute && s_word[m] == RELEASED && s_vm != GONE ->
		let_go(m) }
#ifdef NO_RULE_4
	:: atomic { !s_mute && s_word[m] == CONSENTED && s_devices -> s_devices = false }
#endif
	// Rule 5: S asks D, and settles what is undecided, whenever it has lost touch.
#if defined(CALMS) && !defined(NO_RULE_5_ASK)
	:: atomic { !s_mute && s_word[m] == CONSENTED && !query[m] -> query[m] = true }
#endif
	// Rule 6: D has restarted and asks.
	:: atomic { !s_mute && s_word[m] == CONSENTED && ask[m] && !answer[m] -> answer[m] = true }
	// Rule 8: the claim is on disk before RETURNING is.
	:: atomic { !s_mute && s_word[m] == CONSENTED && fence[m] && !s_claim[m] && CLAIM_KEPT -> s_claim[m] = true }
	:: atomic { !s_mute && s_word[m] == CONSENTED && fence[m] && (s_claim[m] || !CLAIM_KEPT) ->
		s_fenced[m] = true;
		s_write(m, RETURNING) }
#ifdef NO_RULE_8_CONFLICT
	:: atomic { !s_mute && (s_word[m] == RETURNING || s_word[m] == RETURNED) && HEARD(started, m) && s_vm != GONE ->
		let_go(m) }
#else
	:: atomic { !s_mute && (s_word[m] == RETURNING || s_word[m] == RETURNED) && !s_conflict[m] &&
		    (HEARD(started, m) || HEARD(committed, m)) -> s_conflict[m] = true }
#endif
#ifdef NO_SYNC
	:: atomic { s_disk[m] != s_word[m] -> s_disk[m] = s_word[m] }
#endif
	od
}
