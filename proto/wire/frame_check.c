// SPDX-License-Identifier: Apache-2.0
// Limits of control frames' fields.
#include <errno.h>
#include <string.h>

#include "common/schedule.h"
#include "proto/wire/digest.h"
#include "proto/wire/frame.h"

#define TEXT_MAX 256 // hosts, ids, messages

static int check_size(const char *field, size_t size, size_t wanted, struct ls_error *err)
{
	return size == wanted ? 0 : ls_fail(err, LS_E_INVALID, EBADMSG, "%s has %zu bytes, not %zu", field, size,
					    wanted);
}

static int check_text(const char *field, const char *text, struct ls_error *err)
{
	return strnlen(text, TEXT_MAX + 1) <= TEXT_MAX ? 0 :
		ls_fail(err, LS_E_LIMIT, EMSGSIZE, "%s is longer than %d bytes", field, TEXT_MAX);
}

static int check_digests(const char *field, size_t n, Lockstep__V1__DeviceDigest *const *device, struct ls_error *err)
{
	int r = 0;

	if (n > LS_MAX_DEVICES)
		return ls_fail(err, LS_E_LIMIT, E2BIG, "%s: %zu entries, at most %d are allowed", field, n,
			       LS_MAX_DEVICES);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = check_size(field, device[i]->digest.len, LS_DIGEST_SIZE, err);
		if (r == 0)
			r = check_text(field, device[i]->device, err);
	}
	return r;
}

static int check_open(const Lockstep__V1__Open *open, struct ls_error *err)
{
	int r = check_size("Open.token", open->token.len, LS_FRAME_TOKEN_SIZE, err);

	if (r == 0)
		r = check_text("Open.migration", open->migration, err);
	if (r == 0)
		r = check_text("Open.device", open->device, err);
	if (r == 0)
		r = check_text("Open.source_host", open->source_host, err);
	if (r == 0)
		r = check_text("Open.source_ledger_id", open->source_ledger_id, err);
	return r;
}

static int check_blob(const Lockstep__V1__Blob *blob, struct ls_error *err)
{
	int r = check_text("Blob.device", blob->device, err);

	if (r == 0 && blob->content.len > LS_FRAME_BLOB_MAX)
		r = ls_fail(err, LS_E_LIMIT, EMSGSIZE, "Blob.content has %zu bytes, at most %u are allowed",
			    blob->content.len, LS_FRAME_BLOB_MAX);
	return r == 0 ? check_size("Blob.digest", blob->digest.len, LS_DIGEST_SIZE, err) : r;
}

static int check_consent(const Lockstep__V1__Consent *consent, struct ls_error *err)
{
	int r = check_text("Consent.migration", consent->migration, err);

	if (r == 0)
		r = check_text("Consent.vm", consent->vm, err);
	if (r == 0)
		r = check_text("Consent.destination_host", consent->destination_host, err);
	if (r == 0)
		r = check_text("Consent.destination_ledger_id", consent->destination_ledger_id, err);
	return r == 0 ? check_digests("Consent.device", consent->n_device, consent->device, err) : r;
}

static int check_detail(const Lockstep__V1__ErrorDetail *detail, struct ls_error *err)
{
	int r = check_text("ErrorDetail.reason", detail->reason, err);

	if (r == 0)
		r = check_text("ErrorDetail.message", detail->message, err);
	if (r == 0)
		r = check_text("ErrorDetail.host", detail->host, err);
	if (r == 0)
		r = check_text("ErrorDetail.device", detail->device, err);
	return r == 0 ? check_text("ErrorDetail.arc", detail->arc, err) : r;
}

int ls_frame_check(const Lockstep__V1__Frame *frame, struct ls_error *err)
{
	int r;

	if (frame->data.len)
		return ls_fail(err, LS_E_INVALID, EBADMSG, "data must be alone in its frame, not beside '%s'",
			       ls_frame_kind_name(frame));
	switch (frame->kind_case) {
	case LOCKSTEP__V1__FRAME__KIND_OPEN:
		return check_open(frame->open, err);
	case LOCKSTEP__V1__FRAME__KIND_OPENED:
		r = check_text("Opened.ledger_id", frame->opened->ledger_id, err);
		return r == 0 ? check_text("Opened.word", frame->opened->word, err) : r;
	case LOCKSTEP__V1__FRAME__KIND_END:
		return check_size("End.digest", frame->end->digest.len, LS_DIGEST_SIZE, err);
	case LOCKSTEP__V1__FRAME__KIND_ERROR:
		return check_detail(frame->error, err);
	case LOCKSTEP__V1__FRAME__KIND_BLOB:
		return check_blob(frame->blob, err);
	case LOCKSTEP__V1__FRAME__KIND_CONSENT_REQUEST:
		r = check_text("ConsentRequest.ledger_id", frame->consent_request->ledger_id, err);
		return r == 0 ? check_digests("ConsentRequest.device", frame->consent_request->n_device,
					      frame->consent_request->device, err) : r;
	case LOCKSTEP__V1__FRAME__KIND_CONSENT:
		return check_consent(frame->consent, err);
	case LOCKSTEP__V1__FRAME__KIND_ABORT:
		return frame->abort->error ? check_detail(frame->abort->error, err) : 0;
	case LOCKSTEP__V1__FRAME__KIND_WORD:
		r = check_text("Word.word", frame->word->word, err);
		return r == 0 ? check_text("Word.ledger_id", frame->word->ledger_id, err) : r;
	case LOCKSTEP__V1__FRAME__KIND_DISCARD:
	case LOCKSTEP__V1__FRAME__KIND_PROGRESS:
	case LOCKSTEP__V1__FRAME__KIND_LOADED:
	case LOCKSTEP__V1__FRAME__KIND_BLOBS_END:
	case LOCKSTEP__V1__FRAME__KIND_STARTED:
	case LOCKSTEP__V1__FRAME__KIND_WORD_QUERY:
		return 0;
	default:
		return ls_fail(err, LS_E_INVALID, EBADMSG, "a frame of no kind that is known here");
	}
}

const char *ls_frame_kind_name(const Lockstep__V1__Frame *frame)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field(frame->base.descriptor, frame->kind_case);

	if (frame->kind_case)
		return field ? field->name : "none";
	return frame->data.len ? "data" : "none";
}
