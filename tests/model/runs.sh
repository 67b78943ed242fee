# SPDX-License-Identifier: Apache-2.0
# What run.sh verifies: name, `holds` or what must break, what is switched on and which rule is taken out.

# The rules hold, whatever crashes how often.
verify base holds -DSYNC_FAILS
verify fences holds -DFENCES -DLEDGERS -DSYNC_FAILS
verify coordinators holds -DTWO_COORDINATORS -DFENCES -DSYNC_FAILS
verify second-migration holds -DMIGRATIONS=2
verify false-fence holds -DFENCES -DLIES
verify progress holds -DCALMS -DSYNC_FAILS
# Of rule 6: with true fences no D has anything left to start, asked or not. Its asking is for false ones.
verify "fences, D does not ask first" holds -DNO_RULE_6_ASK -DFENCES -DLEDGERS

# The model gets everywhere: each step of agent/word.c is taken, each situation comes up.
verify "each step of a word" taken -DTAKEN -DSYNC_FAILS
reached() {
  local name=$1 reached=$2
  shift 2
  verify "reached: $name" 'assertion violated' "$@"
}
reached "runs there, let go here" 'd_vm[0]==RUNS&&s_vm==GONE&&s_disk[0]==RELEASED'
reached "returned, with a token on its way" 's_disk[0]==RETURNED&&s_vm==RUNS&&token[0]'
reached LOST_AFTER_COMMIT 'd_disk[0]==LOST'
reached "fenced, returned" 's_disk[0]==RETURNED&&s_fenced[0]' -DFENCES
reached "fenced, D COMMITTED: CONFLICT" 'd_conflict[0]&&s_disk[0]==RETURNED' -DFENCES
reached "false fence: both say CONFLICT" 'lied&&s_conflict[0]&&d_conflict[0]' -DFENCES -DLIES
reached "second migration, runs there" 'd_vm[1]==RUNS&&s_disk[0]==RETURNED&&s_disk[1]==RELEASED' -DMIGRATIONS=2

# Without one rule, something breaks.
verify "no-sync" "assert" -DNO_SYNC
verify "no-rule-1: no token" "assert" -DNO_RULE_1_TOKEN
verify "no-rule-1: starts before COMMITTED" "assert" -DNO_RULE_1_START
verify "no-rules-1-2: neither compares images" "assert" -DNO_RULE_1_COMPARE -DNO_RULE_1_LOADED
verify "no-rule-2: any token" "assert" -DNO_RULE_2 -DMIGRATIONS=2
verify "no-rule-2: any ledger's token" "assert" -DNO_RULE_2 -DFENCES -DLEDGERS
verify "no-rule-3: alone after CONSENTED" "assert" -DNO_RULE_3_ALONE
verify "no-rule-3: unwinds without RETURNING" "assert" -DNO_RULE_3_WRITE
verify "no-rule-3: stays ACTIVE at restart" "acceptance" -DNO_RULE_3_RESTART -DCALMS
verify "no-rule-4: lets go at CONSENTED" "assert" -DNO_RULE_4
verify "no-rule-5: speaks ABORTED unwritten" "assert" -DNO_RULE_5_WRITE
verify "no-rule-5: unheard of, unwritten" "assert" -DNO_RULE_5_UNHEARD
verify "no-rule-5: S does not ask" "acceptance" -DNO_RULE_5_ASK -DCALMS
verify "no-rule-6: goes on in UNDECIDED" "assert" -DNO_RULE_6_ABORT
verify "no-rule-6: sends it back itself" "assert" -DNO_RULE_6_HOLD
verify "no-rule-7: two migrations at once" "assert" -DNO_RULE_7_BUSY -DMIGRATIONS=2
verify "no-rule-7: lower terms obeyed" "assert" -DNO_RULE_7_TERMS -DTWO_COORDINATORS
verify "no-rule-7: terms not on disk" "assert" -DNO_RULE_7_DISK -DTWO_COORDINATORS
verify "no-rule-7: does not learn" "assert" -DNO_RULE_7_LEARN -DTWO_COORDINATORS
verify "no-rule-7: learns before its term" "assert" -DNO_RULE_7_ORDER -DTWO_COORDINATORS
verify "no-rule-8: unreachable means dead" "assert" -DNO_RULE_8_FENCE -DFENCES
verify "no-rule-8: claim not written" "assert" -DNO_RULE_8_WRITE -DFENCES
verify "no-rule-8: releases on CONFLICT" "assert" -DNO_RULE_8_CONFLICT -DFENCES -DLIES
verify "no-rule-8: a false fence" "assert" -DSTRICT -DLIES -DFENCES
verify "no-rule-9: another ledger's word" "assert" -DNO_RULE_9 -DLEDGERS
verify "no-rule-10: goes on all the same" "assert" -DNO_RULE_10 -DSYNC_FAILS

if [ "${LOCKSTEP_TEST_MODE:-ci}" = full ]; then
  verify "full: progress, ledgers" holds -DCALMS -DSYNC_FAILS -DLEDGERS
  verify "full: second-migration, sync fails" holds -DMIGRATIONS=2 -DSYNC_FAILS
fi
