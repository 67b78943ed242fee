// SPDX-License-Identifier: Apache-2.0
// What an operator may do, and what it would do. Every sentence here is read at night.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_next.h"

#define ACTION(name) LOCKSTEP__V1__RESOLVE_ACTION__RESOLVE_##name

struct facts {
	const struct ls_seq *q;
	const struct seq_side *s, *d;
	const char *vm, *source, *dest;
};

static struct facts facts_of(const struct ls_seq *q)
{
	const Lockstep__V1__MigrationSpec *spec = q->view->spec;

	return (struct facts){.q = q,
			      .s = &q->side[LS_SEQ_SOURCE],
			      .d = &q->side[LS_SEQ_DEST],
			      .vm = spec->vm,
			      .source = spec->source,
			      .dest = spec->destination};
}

// ---- is it open? An empty answer: yes. Else why not.

static const char *fence_not(const struct facts *f)
{
	if (!ls_seq_word_is(f->s, "CONSENTED"))
		return ls_seq_consented(f->q)
			       ? "the source has let the VM go"
			       : "the source has not consented: it returns the VM by itself; cancel instead";
	if (ls_seq_dest_lost(f->q) && ls_seq_waits(f->s))
		return "the destination answers, and has lost the VM: return-lost is the way";
	if (ls_seq_word_is(f->d, "COMMITTED") || ls_seq_dest_runs(f->q))
		return "the destination has said that it runs the VM: returning it would take it back in time";
	if (ls_seq_dest_aborted(f->q)) // unless it cannot hear of that
		return f->q->called ? "" : "the destination has given up: the source returns the VM by itself";
	if (!ls_seq_silent(f->d) && !f->d->ledger_lost)
		return "the destination's agent answers: it and the source settle this between them";
	return "";
}

static const char *lost_not(const struct facts *f)
{
	if (!ls_seq_dest_lost(f->q))
		return "the destination has not said that it lost the VM's devices after the commit";
	if (!ls_seq_word_is(f->s, "CONSENTED"))
		return "the source does not hold the VM any more, or has it back";
	// It believes the destination itself, not us.
	return ls_seq_waits(f->s) ? "" : "the source has not heard it from the destination yet: they are about to talk";
}

static const char *reset_source_not(const struct facts *f)
{
	if (!ls_seq_word_is(f->s, "RETURNING"))
		return "the source is not on its way back";
	return ls_seq_waits(f->s) ? "" : "no device has failed on the source's way back";
}

static const char *reset_dest_not(const struct facts *f)
{
	if (!ls_seq_word_is(f->d, "COMMITTED"))
		return "the destination is not between its commit and the start";
	return ls_seq_waits(f->d) && !ls_seq_dest_lost(f->q) ? "" : "no device has failed to start at the destination";
}

static const char *close_not(const struct facts *f)
{
	if (!f->q->called)
		return "it does not wait for an operator";
	if (!fence_not(f)[0] && !f->d->ledger_lost)
		return "the VM would stand still for ever: bring the destination's agent back, or fence its host";
	if (ls_seq_dest_lost(f->q) && ls_seq_word_is(f->s, "CONSENTED"))
		return "the VM would stand still for ever: return it to the source";
	if (ls_seq_silent(f->d) && ls_seq_word_is(f->d, "COMMITTED") && !ls_seq_conflict(f->q))
		return "the destination has committed and will start the VM: bring its agent back";
	return "";
}

static const char *why_not(const struct facts *f, Lockstep__V1__ResolveAction action)
{
	if (f->q->closed || f->q->closing)
		return "an operator has closed it";
	if (f->q->finished && !ls_seq_loose(f->q))
		return "the migration has ended";
	if (!f->q->planned)
		return "nothing has been asked of any agent yet";
	switch (action) {
	case ACTION(RETURN_FENCED):
		return fence_not(f);
	case ACTION(RETURN_LOST):
		return lost_not(f);
	case ACTION(RESET_SOURCE):
		return reset_source_not(f);
	case ACTION(RESET_DESTINATION):
		return reset_dest_not(f);
	case ACTION(CLOSE):
		return close_not(f);
	default:
		return "no such action";
	}
}

static char *effect(const struct facts *f, Lockstep__V1__ResolveAction action)
{
	char *text = (char *)protobuf_c_empty_string;

	switch (action) {
	case ACTION(RETURN_FENCED):
		ls_msg_setf(
			&text,
			"%s returns at %s, on your word that nothing of it runs at %s. If that is false it runs twice, "
			"and both sides report CONFLICT",
			f->vm, f->source, f->dest);
		break;
	case ACTION(RETURN_LOST):
		ls_msg_setf(&text, "%s returns at %s with its devices as they were when it stopped; what %s loaded is "
				   "lost, and its record there is closed",
			    f->vm, f->source, f->dest);
		break;
	case ACTION(RESET_SOURCE):
		ls_msg_setf(&text,
			    "the devices that failed at %s are reset and lose their state; %s runs on there, and its "
			    "guest must set them up anew",
			    f->source, f->vm);
		break;
	case ACTION(RESET_DESTINATION):
		ls_msg_setf(&text,
			    "the devices that failed at %s are reset and lose their state; %s starts there, and its "
			    "guest must set them up anew",
			    f->dest, f->vm);
		break;
	default:
		ls_msg_setf(&text,
			    "both agents let go of the migration where it stands and start nothing; see yourself to "
			    "%s and its devices on %s and %s",
			    f->vm, f->source, f->dest);
		break;
	}
	return text;
}

// ---- what is known

static const char *meaning(const char *word)
{
	static const struct {
		const char *word, *meaning;
	} all[] = {
		{"ACTIVE", "the VM is there, and it may take it back alone"},
		{"CONSENTED", "it has given away its right to resume the VM, and keeps it stopped"},
		{"RETURNING", "it takes the VM back"},
		{"RETURNED", "the VM runs there"},
		{"RELEASED", "it has let the VM go"},
		{"UNDECIDED", "nothing is decided there"},
		{"COMMITTED", "it has decided to run the VM"},
		{"STARTED", "the VM runs there"},
		{"ABORTED", "it will never run the VM"},
		{"LOST_AFTER_COMMIT", "it had decided to run the VM, and lost the loaded devices"},
		{"", "it has said nothing yet"}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i].word, word) == 0)
			return all[i].meaning;
	return "a word of a newer release";
}

static void say(Lockstep__V1__ResolveResponse *r, char *text)
{
	LS_MSG_APPEND(r->n_known, r->known, text);
}

// "; its agent has not answered since 2026-01-31 12:00:00 UTC"
static const char *silence_of(const struct seq_side *s, char buf[80])
{
	time_t seconds = (time_t)(s->silent_ms / 1000);
	struct tm tm;

	if (!ls_seq_silent(s))
		return "";
	if (!gmtime_r(&seconds, &tm) ||
	    !strftime(buf, 80, "; its agent has not answered since %Y-%m-%d %H:%M:%S UTC", &tm))
		return "; its agent does not answer";
	return buf;
}

static void say_side(Lockstep__V1__ResolveResponse *r, const struct seq_side *s, const char *role, const char *host)
{
	char *text = (char *)protobuf_c_empty_string, since[80];

	ls_msg_setf(&text, "%s %s: %s%s%s%s%s", role, host, s->word, s->word[0] ? ", " : "", meaning(s->word),
		    s->ledger_lost ? "; its ledger is another by now" : "", silence_of(s, since));
	say(r, text);
	if (!ls_seq_waits(s) || !s->error)
		return;
	text = (char *)protobuf_c_empty_string;
	ls_msg_setf(&text, "%s waits for you: %s%s%s: %s", host, s->error->reason,
		    s->error->device[0] ? ", device " : "", s->error->device, s->error->message);
	say(r, text);
}

static void say_claims(Lockstep__V1__ResolveResponse *r, const Lockstep__V1__Migration *v)
{
	for (size_t i = 0; i < v->n_claim; i++) {
		const Lockstep__V1__FenceClaim *c = v->claim[i];
		char *text = (char *)protobuf_c_empty_string;

		ls_msg_setf(&text, "%s claimed that %s was fenced (%s): %s", c->actor[0] ? c->actor : "somebody",
			    c->host,
			    c->method == LOCKSTEP__V1__FENCE_CLAIM__METHOD__POWERED_OFF ? "powered off"
											: "processes killed",
			    c->evidence);
		say(r, text);
	}
}

Lockstep__V1__ResolveResponse *ls_seq_explain(const struct ls_seq *q)
{
	struct facts f = facts_of(q);
	Lockstep__V1__ResolveResponse *r;

	LS_MSG_NEW(r, LOCKSTEP__V1__RESOLVE_RESPONSE__INIT);
	say_side(r, f.s, "source", f.source);
	say_side(r, f.d, "destination", f.dest);
	say_claims(r, q->view);
	for (int i = ACTION(RETURN_FENCED); i <= ACTION(CLOSE); i++) {
		Lockstep__V1__ResolveAction action = (Lockstep__V1__ResolveAction)i;
		Lockstep__V1__ResolveResponse__Option *o;

		LS_MSG_NEW(o, LOCKSTEP__V1__RESOLVE_RESPONSE__OPTION__INIT);
		o->action = action;
		o->open = !why_not(&f, action)[0];
		o->effect = effect(&f, action);
		ls_msg_set(&o->why_not, why_not(&f, action));
		LS_MSG_APPEND(r->n_option, r->option, o);
	}
	return r;
}

// ---- deciding

static int check_claim(const struct ls_seq *q, Lockstep__V1__ResolveAction action, const Lockstep__V1__FenceClaim *c,
		       struct ls_error *err)
{
	size_t n;

	if (action != ACTION(RETURN_FENCED))
		return c ? ls_fail(err, LS_E_INVALID, 0, "claim: only RESOLVE_RETURN_FENCED takes one") : 0;
	if (!c)
		return ls_fail(err, LS_E_INVALID, 0, "claim: is missing: how was the destination fenced?");
	if (strcmp(c->host, q->view->spec->destination) != 0)
		return ls_fail(err, LS_E_INVALID, 0, "claim.host: the host to fence is the destination, %s",
			       q->view->spec->destination);
	if (c->method != LOCKSTEP__V1__FENCE_CLAIM__METHOD__POWERED_OFF &&
	    c->method != LOCKSTEP__V1__FENCE_CLAIM__METHOD__PROCESSES_KILLED)
		return ls_fail(err, LS_E_INVALID, 0, "claim.method: must be POWERED_OFF or PROCESSES_KILLED");
	n = strlen(c->evidence);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)c->evidence[i] < 0x20 || c->evidence[i] == 0x7f)
			return ls_fail(err, LS_E_INVALID, 0, "claim.evidence: must be printable, on one line");
	return n >= 1 && n <= 200 ? 0
				  : ls_fail(err, LS_E_INVALID, 0,
					    "claim.evidence: 1 to 200 characters on how it was done, has %zu", n);
}

int ls_seq_resolve(struct ls_seq *q, Lockstep__V1__ResolveAction action, const Lockstep__V1__FenceClaim *claim,
		   const char *actor, struct ls_seq_time t, struct ls_error *err)
{
	struct facts f = facts_of(q);
	Lockstep__Store__Record *r;

	if (action <= ACTION(EXPLAIN) || action > ACTION(CLOSE))
		return ls_fail(err, LS_E_INVALID, 0, "action: no such action: %d", (int)action);
	if (check_claim(q, action, claim, err) < 0)
		return -EINVAL;
	if (q->resolving == action && !q->deciding)
		return 0;
	if (q->resolving || q->deciding)
		return ls_fail(err, LS_E_BAD_STATE, 0, "another decision is being carried out");
	if (why_not(&f, action)[0])
		return ls_fail(err, LS_E_BAD_STATE, 0, "not now: %s", why_not(&f, action));
	r = ls_seq_record(t);
	r->kind_case = LOCKSTEP__STORE__RECORD__KIND_RESOLVED;
	LS_MSG_NEW(r->resolved, LOCKSTEP__STORE__RESOLVED__INIT);
	r->resolved->action = action;
	ls_msg_set(&r->resolved->actor, actor);
	if (claim) {
		r->resolved->claim = ls_msg_clone(claim);
		ls_msg_set(&r->resolved->claim->actor, actor);
		r->resolved->claim->time_ms = t.unix_ms;
	}
	q->deciding = true;
	ls_seq_emit(q, (struct ls_seq_action){.kind = LS_SEQ_PERSIST, .record = r});
	return 0;
}

bool ls_seq_resolving(const struct ls_seq *q)
{
	return q->deciding || q->resolving != ACTION(EXPLAIN);
}

const Lockstep__V1__ErrorDetail *ls_seq_resolve_refused(const struct ls_seq *q)
{
	return q->refused;
}

const Lockstep__V1__FenceClaim *ls_seq_claim(const struct ls_seq *q)
{
	return q->view->n_claim ? q->view->claim[q->view->n_claim - 1] : NULL;
}

const char *ls_seq_closer(const struct ls_seq *q)
{
	return q->closer;
}

const Lockstep__V1__ErrorDetail *ls_seq_first_cause(const struct ls_seq *q)
{
	return q->called ? q->first : q->view->error;
}
