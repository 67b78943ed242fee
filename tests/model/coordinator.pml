// SPDX-License-Identifier: Apache-2.0
// A coordinator's orders, each given once and heard any number of times, and rule 7's way to take over.

#ifdef TWO_COORDINATORS
// The second has no store: at each agent it has its term taken, then learns what is open (rule 7).
inline learn(h) {
#ifndef NO_RULE_7_LEARN
	knows = knows || ((h) == 0 && S_OPEN(0)) || ((h) == 1 && D_OPEN(0));
#endif
	listed[h] = true
}
#define MUTE(h) (((h) == 0 && s_mute) || ((h) != 0 && d_mute[0]))
inline take_over(c) {
	do
	:: c == 1 && h <= MIGRATIONS ->
#ifdef NO_RULE_7_ORDER
		atomic { learn(h); check() }
		atomic { take(h, 1); h++ }
#else
		atomic { take(h, 1) }
		atomic { !MUTE(h) -> learn(h); check(); h++ } // a mute agent speaks no word
#endif
	:: else -> break
	od
}
#else
#define take_over(c) skip
#endif

proctype C(byte c; byte m)
{
	byte h;
	take_over(c);
#ifndef CALMS
	// Orders that may come at any time are the same as orders that are on their way from the beginning.
	atomic {
		prepare_d[m] = 1; // of the first alone: one that has no store has nothing to begin again
		grant[m] = grant[m] | 1 << c;
		unwind[m] = unwind[m] | 1 << c;
		settle[m] = settle[m] | 1 << c
	}
#endif
	do
	:: atomic { c == 0 && !prepare_d[m] -> prepare_d[m] = 1 }
	:: atomic { c == 0 && prepared[m] && !(prepare_s[m] & 1 << c) ->
		prepare_s[m] = 4 * prepared[m] + ((prepare_s[m] & 3) | 1 << c) }
	:: atomic { prepare_s[m] && !(grant[m] & 1 << c) -> grant[m] = grant[m] | 1 << c }
	:: atomic { !(unwind[m] & 1 << c) -> unwind[m] = unwind[m] | 1 << c }
	:: atomic { !(settle[m] & 1 << c) -> settle[m] = settle[m] | 1 << c }
	:: break // dies, and may have been the last
	od
}
