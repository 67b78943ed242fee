// SPDX-License-Identifier: Apache-2.0
// The destination's agent, in one migration: rules 1, 2, 5, 6.

#define SAID(m) ((d_word[m] == ABORTED && aborted[m] & BIT(d_ledger[m])) || \
		 (d_word[m] == STARTED && started[m] & BIT(d_ledger[m])) || \
		 (d_word[m] == COMMITTED && committed[m] & BIT(d_ledger[m])))
inline say(m) {
	if
	:: d_word[m] == ABORTED -> aborted[m] = aborted[m] | BIT(d_ledger[m])
	:: d_word[m] == STARTED -> started[m] = started[m] | BIT(d_ledger[m])
	:: d_word[m] == COMMITTED -> committed[m] = committed[m] | BIT(d_ledger[m])
	fi
}

#if defined(NO_RULE_5_WRITE)
#define SETTLES(m) (d_word[m] == UNDECIDED && !(aborted[m] & BIT(d_ledger[m])))
#elif defined(NO_RULE_5_UNHEARD)
#define SETTLES(m) (d_word[m] == UNDECIDED || (d_word[m] == NONE && !(aborted[m] & BIT(d_ledger[m]))))
#else
#define SETTLES(m) (d_word[m] == UNDECIDED || d_word[m] == NONE)
#endif

// Rule 2: is the token about this ledger, and these images?
#ifdef NO_RULE_2
#define TOKEN_FITS(m) ANY_TOKEN
#else
#define TOKEN_FITS(m) (token[m] == d_ledger[m] && (d_image[m] == RIGHT || d_image[m] == STALE))
#endif
#if MIGRATIONS == 2
#define ANY_TOKEN (token[0] || token[1])
#else
#define ANY_TOKEN (token[0])
#endif

// Rule 1: what lets D commit.
#if defined(NO_RULE_1_TOKEN)
#define MAY_COMMIT(m) (d_image[m] == RIGHT)
#elif defined(NO_RULE_1_LOADED) || defined(NO_RULE_6_ABORT) // what was loaded once is believed
#define MAY_COMMIT(m) (d_image[m] != EMPTY && token[m] == d_ledger[m])
#else
#define MAY_COMMIT(m) (d_image[m] != EMPTY && TOKEN_FITS(m))
#endif

#ifdef NO_RULE_1_START
#define MAY_START(m) (d_word[m] == UNDECIDED || d_word[m] == COMMITTED)
#else
#define MAY_START(m) (d_word[m] == COMMITTED)
#endif

proctype D(byte m)
{
	byte i;
end:	do
	:: atomic { D_LIVES(m) && d_word[m] == NONE && d_vm[m] == WAITS && MAY(prepare_d[m], 1 + m) ->
		obey(prepare_d[m], 1 + m);
		d_write(m, UNDECIDED) }
	:: atomic { D_LIVES(m) && d_word[m] == UNDECIDED && prepared[m] != d_ledger[m] -> prepared[m] = d_ledger[m] }
	// All images, or something that is not quite that; only what S sends while it stands still.
	:: atomic { D_LIVES(m) && d_word[m] == UNDECIDED && d_image[m] == EMPTY && s_word[m] == ACTIVE && s_vm == STANDS &&
		    !s_left[m] ->
		if
		:: d_image[m] = RIGHT
		:: !calm -> d_image[m] = WRONG
		fi }
	// Rule 1: D asks for consent once it has everything and the gate `decide`.
	:: atomic { D_LIVES(m) && d_word[m] == UNDECIDED && d_image[m] != EMPTY && MAY(grant[m], 1 + m) &&
		    !(request[m] & ASKED(d_ledger[m], d_image[m] != WRONG)) ->
		obey(grant[m], 1 + m);
		request[m] = request[m] | ASKED(d_ledger[m], d_image[m] != WRONG) }
	:: atomic { D_LIVES(m) && d_word[m] == UNDECIDED && MAY_COMMIT(m) -> d_write(m, COMMITTED) }
	:: atomic { D_LIVES(m) && MAY_START(m) && d_vm[m] == WAITS && d_image[m] != EMPTY && !d_asks[m] && !d_hold[m] &&
		    !d_conflict[m] ->
		if
		:: d_vm[m] = RUNS
		:: !calm -> d_hold[m] = true // rule 6: a start arc fails
		fi;
		check() }
#ifdef NO_RULE_6_HOLD
	:: atomic { D_LIVES(m) && d_hold[m] && !(aborted[m] & BIT(d_ledger[m])) ->
		aborted[m] = aborted[m] | BIT(d_ledger[m]);
		check() }
#endif
	:: atomic { D_LIVES(m) && d_word[m] == COMMITTED && d_vm[m] == RUNS -> d_write(m, STARTED) }
	// Rule 6: LOST_AFTER_COMMIT. It will never start.
	:: atomic { D_LIVES(m) && GONE_AFTER_COMMIT(m) -> d_write(m, LOST) }
	// Alone, at any moment while UNDECIDED: a failure, the source silent, S's RETURNING.
	:: atomic { D_LIVES(m) && d_word[m] == UNDECIDED && d_vm[m] != RUNS -> d_write(m, ABORTED) }
	// Its words: unasked once, then whenever it is asked.
	:: atomic { D_LIVES(m) && (d_word[m] == ABORTED || d_word[m] == STARTED) &&
		    SPEAK_ONCE(d_spoke, m, !SAID(m)) ->
#ifdef CALMS
		d_spoke[m] = true;
		if
		:: say(m)
		:: !calm // lost
		fi;
#else
		say(m);
#endif
		check() }
	:: atomic { D_LIVES(m) && QUERIED(m) && (d_word[m] == ABORTED || d_word[m] == STARTED || d_word[m] == COMMITTED) &&
		    !SAID(m) ->
		say(m);
		check() }
	// Rule 5: Settle, from C, from S, from an operator.
	:: atomic { D_LIVES(m) && (QUERIED(m) || MAY(settle[m], 1 + m)) && SETTLES(m) ->
		if
		:: QUERIED(m)
		:: MAY(settle[m], 1 + m) -> obey(settle[m], 1 + m)
		fi;
#if defined(NO_RULE_5_WRITE)
		aborted[m] = aborted[m] | BIT(d_ledger[m]);
		check()
#elif defined(NO_RULE_5_UNHEARD)
		if
		:: d_word[m] == NONE ->
			aborted[m] = aborted[m] | BIT(d_ledger[m]);
			check()
		:: else -> d_write(m, ABORTED)
		fi
#else
		d_write(m, ABORTED)
#endif
	}
	// Rule 6: asks S, hears CONSENTED or RETURNING.
	:: atomic { D_LIVES(m) && d_asks[m] && !ask[m] -> ask[m] = true }
	:: atomic { D_LIVES(m) && d_asks[m] && answer[m] -> d_asks[m] = false }
	:: atomic { D_LIVES(m) && d_word[m] == COMMITTED && returning[m] && !d_conflict[m] -> d_conflict[m] = true }
	:: atomic { D_LIVES(m) && d_word[m] == STARTED && returning[m] && !d_conflict[m] -> d_conflict[m] = true }
#ifdef NO_SYNC
	:: atomic { d_disk[m] != d_word[m] -> d_disk[m] = d_word[m] }
#endif
	od
}
