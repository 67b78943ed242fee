// SPDX-License-Identifier: Apache-2.0
// Properties of schedules over random mixes of devices, with fixed seeds.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "p2p_world.h"

#define MIXES 4000
#define MUTATIONS 12000

static unsigned pick(uint64_t *random, unsigned n)
{
	return (unsigned)(world_random(random) % n);
}

static unsigned random_flags(uint64_t *random, unsigned one_without_in)
{
	return 1 | (pick(random, one_without_in) ? 2 : 0) | (pick(random, 2) ? 4 : 0);
}

static uint32_t random_reach(uint64_t *random, unsigned n)
{
	uint32_t all = n == 32 ? UINT32_MAX : (UINT32_C(1) << n) - 1;

	switch (pick(random, 4)) {
	case 0: return 0;
	case 1: return (uint32_t)world_random(random) & (uint32_t)world_random(random) & all;
	default: return all;
	}
}

static void random_mix(struct ls_schedule *s, uint64_t *random)
{
	unsigned without = 2 + pick(random, 8);

	memset(s, 0, sizeof(*s));
	s->n_devices = pick(random, 20) ? 1 + pick(random, 6) : 32;
	for (unsigned i = 0; i < s->n_devices; i++) {
		struct ls_sched_device *d = &s->device[i];

		snprintf(d->source_name, sizeof(d->source_name), "s%u.", i);
		snprintf(d->dest_name, sizeof(d->dest_name), "d%u.", i);
		d->source_flags = random_flags(random, without);
		d->dest_flags = pick(random, 4) ? d->source_flags : random_flags(random, without);
		d->reaches = random_reach(random, s->n_devices);
		d->precopy = d->source_flags & LS_CAP_PRE_COPY && pick(random, 3);
	}
}

// Devices of one side without P2P that reach, or are reached by, another such.
static uint32_t quarrelling(const struct ls_schedule *s, bool dest)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < s->n_devices; i++)
		for (unsigned j = 0; j < s->n_devices; j++) {
			unsigned a = dest ? s->device[i].dest_flags : s->device[i].source_flags;
			unsigned b = dest ? s->device[j].dest_flags : s->device[j].source_flags;

			if (i != j && !(a & 2) && !(b & 2) && s->device[i].reaches >> j & 1)
				mask |= UINT32_C(1) << i | UINT32_C(1) << j;
		}
	return mask;
}

static void assert_names(const struct ls_schedule *s, bool dest, uint32_t mask, const char *message)
{
	for (unsigned i = 0; i < s->n_devices; i++) {
		const char *name = dest ? s->device[i].dest_name : s->device[i].source_name;

		if (mask >> i & 1)
			assert_non_null(strstr(message, name));
		else
			assert_null(strstr(message, name));
	}
}

static void assert_world_fine(struct world *w)
{
	if (world_lost(w) || w->violations)
		fail_msg("%s", w->what);
}

static void live_through(const struct ls_schedule *s, bool dest, uint64_t seed, bool fail)
{
	struct world w;

	world_begin(&w, s, dest, seed);
	if (!world_forward(&w, fail))
		world_unwind(&w);
	assert_world_fine(&w);
}

static void every_mix_is_either_made_and_proved_or_refused_by_name(void **state)
{
	uint64_t random = 1;
	unsigned made = 0, refused = 0;
	char text[600];

	for (unsigned n = 0; n < MIXES; n++) {
		struct ls_schedule s;
		struct ls_error err;
		uint32_t bad_source, bad_dest;

		random_mix(&s, &random);
		bad_source = quarrelling(&s, false);
		bad_dest = quarrelling(&s, true);
		if (ls_schedule_make(&s, &err) < 0) {
			refused++;
			assert_int_equal(err.reason, LS_E_NOT_FEASIBLE);
			assert_true(bad_source || bad_dest);
			assert_names(&s, !bad_source, bad_source ? bad_source : bad_dest, err.message);
			continue;
		}
		made++;
		assert_false(bad_source || bad_dest);
		if (ls_schedule_verify(&s, &err) < 0)
			fail_msg("mix %u: %s", n, ls_error_text(&err, text, sizeof(text)));
	}
	assert_true(made > MIXES / 3 && refused > MIXES / 20);
}

static void no_write_is_lost_on_any_way_through_a_made_schedule(void **state)
{
	uint64_t random = 2;

	for (unsigned n = 0; n < MIXES; n++) {
		struct ls_schedule s;

		random_mix(&s, &random);
		if (ls_schedule_make(&s, NULL) < 0)
			continue;
		live_through(&s, false, world_random(&random), false);
		live_through(&s, true, world_random(&random), false);
		for (unsigned k = 0; k < 4; k++)
			live_through(&s, k == 0, world_random(&random), true);
	}
}

static struct ls_track *track_of(struct ls_schedule *s, unsigned which)
{
	struct ls_track *tracks[] = { &s->source, &s->source_unwind, &s->dest, &s->dest_unwind };

	return tracks[which];
}

static void drop(struct ls_track *t, unsigned index)
{
	memmove(&t->step[index], &t->step[index + 1], sizeof(t->step[0]) * (t->n - index - 1));
	t->n--;
}

static void mutate(struct ls_schedule *s, uint64_t *random)
{
	struct ls_track *t = track_of(s, pick(random, 3));
	unsigned at = pick(random, t->n);
	struct ls_step swapped = t->step[at];

	// Mostly arcs: the rest is a matter of fixed order.
	for (unsigned k = 0; k < 8 && t->step[at].kind != LS_STEP_ARC; k++)
		at = pick(random, t->n);
	switch (pick(random, 6)) {
	case 0:
		drop(t, at);
		break;
	case 1:
		t->step[at].devices ^= UINT32_C(1) << pick(random, s->n_devices);
		break;
	case 2:
		t->step[at].target = pick(random, LS_STATE_COUNT);
		break;
	case 3:
		if (at + 1 < t->n) {
			swapped = t->step[at];
			t->step[at] = t->step[at + 1];
			t->step[at + 1] = swapped;
		}
		break;
	case 4:
		s->device[pick(random, s->n_devices)].reaches |= UINT32_C(1) << pick(random, s->n_devices);
		break;
	case 5: // split a step in two
		if (t->n < LS_MAX_STEPS) {
			uint32_t some = (uint32_t)world_random(random);

			memmove(&t->step[at + 1], &t->step[at], sizeof(t->step[0]) * (t->n - at));
			t->n++;
			t->step[at].devices &= some;
			t->step[at + 1].devices &= ~some;
		}
		break;
	}
}

// Does a random run, forward or with an unwind, notice that the schedule is wrong?
static bool world_notices(const struct ls_schedule *s, uint64_t *random, unsigned runs)
{
	for (unsigned k = 0; k < runs; k++) {
		struct world w;

		world_begin(&w, s, k % 3 == 2, world_random(random));
		if (!world_forward(&w, k % 2))
			world_unwind(&w);
		if (world_lost(&w) || w.violations)
			return true;
	}
	return false;
}

static void what_verify_accepts_loses_nothing_and_what_it_refuses_for_k3_does(void **state)
{
	uint64_t random = 3;
	unsigned accepted = 0, refused = 0, noticed = 0;

	for (unsigned n = 0; n < MUTATIONS; n++) {
		struct ls_schedule s;
		struct ls_error err;

		random_mix(&s, &random);
		if (s.n_devices > 6 || ls_schedule_make(&s, NULL) < 0)
			continue;
		mutate(&s, &random);
		if (ls_schedule_verify(&s, &err) == 0) {
			accepted++;
			for (unsigned k = 0; k < 4; k++) {
				live_through(&s, false, world_random(&random), k);
				live_through(&s, true, world_random(&random), k == 3);
			}
		} else if (strstr(err.message, " may write to ")) {
			refused++;
			noticed += world_notices(&s, &random, 200);
		}
	}
	print_message("mutations: %u accepted, %u refused for lost writes, %u of them seen lost\n", accepted, refused,
		      noticed);
	assert_true(accepted > 1000);
	assert_true(refused > 500);
	// Verify is exact; what the world misses are rare orders of events.
	assert_true(noticed * 100 >= refused * 95);
}

static void full_mesh(struct ls_schedule *s, unsigned n, const unsigned *flags, bool precopy)
{
	memset(s, 0, sizeof(*s));
	s->n_devices = n;
	for (unsigned i = 0; i < n; i++) {
		snprintf(s->device[i].source_name, LS_NAME_MAX, "nic%u", i);
		snprintf(s->device[i].dest_name, LS_NAME_MAX, "nic%u", i);
		s->device[i].source_flags = s->device[i].dest_flags = flags[i];
		s->device[i].reaches = (UINT32_C(1) << n) - 1;
		s->device[i].precopy = precopy && flags[i] & LS_CAP_PRE_COPY;
	}
	assert_int_equal(ls_schedule_make(s, NULL), 0);
}

static unsigned find_arc(const struct ls_track *t, enum ls_state target)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->step[i].kind == LS_STEP_ARC && t->step[i].target == target)
			return i;
	fail_msg("no arc to %s", ls_state_name(target));
	return 0;
}

// The controls: break it on purpose, in each mix, and both the proof and the world must see it.
static void a_missing_or_misplaced_barrier_is_refused_and_noticed(void **state)
{
	static const unsigned mixes[][4] = { { 3, 3, 3, 3 }, { 7, 7, 7, 7 }, { 7, 3, 5, 7 }, { 1, 3, 7, 3 } };
	static const struct {
		unsigned track;
		enum ls_state target;
		bool swap; // with the step after it, instead of leaving it out
	} controls[] = {
		{ 0, LS_STATE_RUNNING_P2P, false }, { 0, LS_STATE_RUNNING_P2P, true },
		{ 1, LS_STATE_RUNNING_P2P, false }, { 2, LS_STATE_RUNNING_P2P, false },
		{ 2, LS_STATE_RUNNING_P2P, true },
	};
	uint64_t random = 4;

	for (unsigned m = 0; m < 8; m++) {
		for (unsigned c = 0; c < sizeof(controls) / sizeof(controls[0]); c++) {
			struct ls_schedule s;
			struct ls_track *t;
			struct ls_error err;
			unsigned at;

			full_mesh(&s, 4, mixes[m / 2], m % 2);
			assert_false(world_notices(&s, &random, 50));
			t = track_of(&s, controls[c].track);
			at = find_arc(t, controls[c].target);
			if (controls[c].swap) {
				struct ls_step moved = t->step[at];

				t->step[at] = t->step[at + 1];
				t->step[at + 1] = moved;
			} else {
				drop(t, at);
			}
			assert_int_equal(ls_schedule_verify(&s, &err), -EINVAL);
			assert_int_equal(err.reason, LS_E_SCHEDULE_INVALID);
			assert_true(world_notices(&s, &random, 400));
		}
	}
}

static void leaving_out_the_step_of_the_device_without_p2p_is_refused_and_noticed(void **state)
{
	static const unsigned flags[] = { 7, 1, 3 };
	struct ls_schedule s;
	struct ls_error err;
	uint64_t random = 5;

	full_mesh(&s, 3, flags, true);
	drop(&s.source, find_arc(&s.source, LS_STATE_STOP));
	assert_int_equal(ls_schedule_verify(&s, &err), -EINVAL);
	assert_non_null(strstr(err.message, "nic1 in RUNNING may write to nic0"));
	assert_true(world_notices(&s, &random, 400));

	full_mesh(&s, 3, flags, true);
	drop(&s.dest, find_arc(&s.dest, LS_STATE_RUNNING));
	assert_int_equal(ls_schedule_verify(&s, &err), -EINVAL);
	assert_true(world_notices(&s, &random, 400));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mix_is_either_made_and_proved_or_refused_by_name),
		cmocka_unit_test(no_write_is_lost_on_any_way_through_a_made_schedule),
		cmocka_unit_test(what_verify_accepts_loses_nothing_and_what_it_refuses_for_k3_does),
		cmocka_unit_test(a_missing_or_misplaced_barrier_is_refused_and_noticed),
		cmocka_unit_test(leaving_out_the_step_of_the_device_without_p2p_is_refused_and_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
