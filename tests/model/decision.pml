// SPDX-License-Identifier: Apache-2.0
// docs/decision.md as a model: who may run the VM. Words and rule numbers are the same.
//
//   S        the source's agent, one process per migration, one ledger and one VM for all of them
//   D        the destination's agent, one per migration, each on its own host with its own ledger
//   C        a coordinator; it stops for good whenever it likes, and is one of two with -DTWO_COORDINATORS
//   Operator fences, truly or not
//   Fate     crashes of agents and of hosts, VMMs that die, ledgers that are replaced
//
// A message is a bit that stays set once it was sent: whoever may hear it hears it early, late, twice, or
// never. An agent that crashes and starts again does so in one step; while it is down it is merely silent.
// What is switched on by -D: see run.sh, which also takes one rule out at a time (-DNO_RULE_...).

#ifndef MIGRATIONS
#define MIGRATIONS 1
#endif
#ifdef TWO_COORDINATORS
#define COORDINATORS 2
#else
#define COORDINATORS 1
#endif

mtype = { NONE, ACTIVE, CONSENTED, RETURNING, RETURNED, RELEASED, UNDECIDED, COMMITTED, ABORTED, STARTED, LOST };
mtype = { RUNS, STANDS, WAITS, GONE };        // a VM
mtype = { EMPTY, RIGHT, WRONG, STALE };       // all the images of one destination; STALE: the source ran on

// ---- on disk ----
mtype s_disk[MIGRATIONS] = NONE, d_disk[MIGRATIONS] = NONE;
byte d_ledger[MIGRATIONS] = 1;                // the id of D's ledger; 2 after it was replaced
byte s_peer[MIGRATIONS];                      // D's ledger id, as Prepare told S (rule 9)
bool s_fenced[MIGRATIONS];                    // S goes back on a fence
bool s_claim[MIGRATIONS];                     // S has written a fence claim (rule 8)

// ---- in the agents' memory: the words they go by, equal to the disk's except after a failed sync ----
mtype s_word[MIGRATIONS] = NONE, d_word[MIGRATIONS] = NONE;
bool s_mute, d_mute[MIGRATIONS];              // rule 10
bool s_left[MIGRATIONS];                      // restarted in ACTIVE and did not turn back (no rule 3)
bool d_asks[MIGRATIONS];                      // restarted in COMMITTED: asks S first (rule 6)
bool d_hold[MIGRATIONS];                      // the start arc failed, policy hold (rule 6)
bool s_conflict[MIGRATIONS], d_conflict[MIGRATIONS]; // reported CONFLICT (rule 8)

// ---- VMs and devices ----
mtype s_vm = RUNS;
bool s_devices = true;                        // S's devices are all open and hold their state
mtype d_vm[MIGRATIONS] = WAITS, d_image[MIGRATIONS] = EMPTY;
bool d_down[MIGRATIONS];                      // powered off
bool lied;                                    // a fence was false

// ---- messages ----
byte prepare_d[MIGRATIONS], grant[MIGRATIONS]; // orders: bit c = coordinator c gave it
byte prepare_s[MIGRATIONS];                    // 4 * ledger id of D + those bits
byte unwind[MIGRATIONS], settle[MIGRATIONS];
byte prepared[MIGRATIONS];                     // D's answer: its ledger id
bool query[MIGRATIONS];                        // S asks D over their own connection (rule 5)
byte request[MIGRATIONS];                      // consent request: bit per ledger id and image
byte token[MIGRATIONS];                        // the D ledger id that S's consent is for (rule 2)
byte aborted[MIGRATIONS], started[MIGRATIONS]; // D's word from ledger 1 (bit 0) and 2 (bit 1)
byte committed[MIGRATIONS];
bool returning[MIGRATIONS];                    // S's RETURNING or RETURNED
bool ask[MIGRATIONS], answer[MIGRATIONS];      // D's question of rule 6; S's CONSENTED. Die with D's life
bool fence[MIGRATIONS];                        // the operator's claim, on its way to S


// Losing a message for good matters to progress only: otherwise it is simply not heard.
#ifdef CALMS
bool s_spoke[MIGRATIONS], d_spoke[MIGRATIONS]; // has spoken unasked, once
bool calm;                                     // nothing breaks any more
#define QUERIED(m) query[m]
#define SPEAK_ONCE(spoke, m, unheard) (!spoke[m])
#else
#define calm false
#define QUERIED(m) true
#define SPEAK_ONCE(spoke, m, unheard) (unheard)
#endif

#define BIT(ledger) (1 << ((ledger) - 1))
#define ASKED(ledger, right) (1 << (2 * ((ledger) - 1) + (right)))
#define S_OPEN(m) (s_word[m] == ACTIVE || s_word[m] == CONSENTED || s_word[m] == RETURNING)
#define D_OPEN(m) (d_word[m] == UNDECIDED || d_word[m] == COMMITTED)
#define D_LIVES(m) (!d_down[m] && !d_mute[m])
#define GONE_AFTER_COMMIT(m) (d_word[m] == COMMITTED && d_image[m] == EMPTY && d_vm[m] != RUNS)

#ifdef TWO_COORDINATORS
bool listed[MIGRATIONS + 1], knows;            // by the second: hosts it has asked for what is open; it is open
#endif

#include "words.pml"
#include "claims.pml"

// ---- terms (rule 7): host 0 is S, host 1 + m is D of migration m ----
#ifdef TWO_COORDINATORS
byte t_disk[MIGRATIONS + 1], t_mem[MIGRATIONS + 1];
byte t_told[MIGRATIONS + 1];                   // highest term ever answered to: checked, not used
#ifdef NO_RULE_7_TERMS
#define TAKES(h, c) true
#else
#define TAKES(h, c) (t_mem[h] <= (c))
#endif
inline take(h, c) {
	assert(c >= t_told[h]); // claim (d): a term that was acknowledged is not forgotten
	t_mem[h] = c;
	t_told[h] = c;
#ifndef NO_RULE_7_DISK
	t_disk[h] = c;
#endif
}
inline forget_term(h) { t_mem[h] = t_disk[h] }
#else
#define TAKES(h, c) true
#define take(h, c) skip
#define forget_term(h) skip
#endif

// An order of coordinator c, one of those in `mask`.
#define MAY(mask, h) (((mask) & 1 && TAKES(h, 0)) || ((mask) & 2 && TAKES(h, 1)))
inline obey(mask, h) {
	if
	:: (mask) & 1 && TAKES(h, 0) -> take(h, 0)
	:: (mask) & 2 && TAKES(h, 1) -> take(h, 1)
	fi
}

// ---- a word is written and synced, then it counts ----
// words.pml is made of agent/word.c by run.sh: MAY_FOLLOW(from, to).
inline follows(from, to) {
	assert(MAY_FOLLOW(from, to)); // (d): never taken back
#ifdef TAKEN
	EACH_STEP(from, to) // asserts that it is not taken: run.sh wants each to fail
#endif
}

inline s_write(m, w) {
	follows(s_word[m], w);
#ifdef NO_SYNC
	s_word[m] = w;
#else
	if
	:: s_disk[m] = w; s_word[m] = w
#ifdef SYNC_FAILS
	:: !calm ->
		if
		:: s_disk[m] = w
		:: skip
		fi;
#ifdef NO_RULE_10
		s_word[m] = w
#else
		s_mute = true
#endif
#endif
	fi;
#endif
	check()
}

inline d_write(m, w) {
	follows(d_word[m], w);
#ifdef NO_SYNC
	d_word[m] = w;
#else
	if
	:: d_disk[m] = w; d_word[m] = w
#ifdef SYNC_FAILS
	:: !calm ->
		if
		:: d_disk[m] = w
		:: skip
		fi;
#ifdef NO_RULE_10
		d_word[m] = w
#else
		d_mute[m] = true
#endif
#endif
	fi;
#endif
	check()
}

#include "source.pml"
#include "destination.pml"
#include "coordinator.pml"
#include "fate.pml"
