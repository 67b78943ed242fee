// SPDX-License-Identifier: Apache-2.0
// A role's words as frames of stream.proto, and back.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/migration.h"
#include "common/fault.h"
#include "common/log.h"
#include "proto/wire/digest.h"
#include "proto/wire/frame.h"

#define FIRST_FRAME_MS 5000

typedef Lockstep__V1__Frame Frame;

#define SEND(conn, KIND, field, value) \
	do { \
		Frame frame_ = LOCKSTEP__V1__FRAME__INIT; \
		frame_.kind_case = LOCKSTEP__V1__FRAME__KIND_##KIND; \
		frame_.field = value; \
		ls_conn_send(conn, &frame_); \
	} while (0)

static const char *fault_name(enum ls_msg_kind kind)
{
	static const char *const names[] = { "blobs", "consent-request", "consent", "started",
					     "abort", "word-query",      "word" };

	return (unsigned)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "other";
}

static void open_of(struct ls_migration *m, const char *device, Lockstep__V1__Open *open)
{
	lockstep__v1__open__init(open);
	open->protocol_min = open->protocol_max = LS_PROTOCOL;
	open->migration = m->params.migration;
	open->device = (char *)device;
	open->token.data = m->token;
	open->token.len = sizeof(m->token);
	open->source_host = m->params.host;
	open->source_ledger_id = m->params.ledger_id;
}

static void opened_of(struct ls_migration *m, Lockstep__V1__Opened *opened)
{
	lockstep__v1__opened__init(opened);
	opened->protocol = LS_PROTOCOL;
	opened->ledger_id = m->params.ledger_id;
	opened->word = (char *)ls_word_name(ls_role_word(m->role));
}

int ls_migration_hello(struct ls_migration *m, const char *device, void **ret, size_t *ret_len, struct ls_error *err)
{
	Frame frame = LOCKSTEP__V1__FRAME__INIT;
	Lockstep__V1__Open open;
	Lockstep__V1__Opened opened;
	uint8_t *bytes = NULL;
	int r;

	if (m->params.side == LS_SIDE_SOURCE) {
		open_of(m, device, &open);
		frame.kind_case = LOCKSTEP__V1__FRAME__KIND_OPEN;
		frame.open = &open;
	} else {
		opened_of(m, &opened);
		frame.kind_case = LOCKSTEP__V1__FRAME__KIND_OPENED;
		frame.opened = &opened;
	}
	r = ls_frame_encode(&frame, &bytes, ret_len, err);
	*ret = bytes;
	return r;
}

void ls_migration_hang_up(struct ls_migration *m)
{
	ls_conn_close(m->conn);
	m->conn = NULL;
	m->conn_up = false;
}

static void drop(struct ls_migration *m, const struct ls_error *err)
{
	ls_log_error("peer.lost", err, "migration=%s peer=%s", m->params.migration, m->params.peer_host);
	ls_migration_hang_up(m);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER_LOST, .error = err });
}

static int device_index(const struct ls_migration *m, const char *dest_name)
{
	for (unsigned i = 0; i < m->params.schedule.n_devices; i++)
		if (strcmp(m->params.schedule.device[i].dest_name, dest_name) == 0)
			return (int)i;
	return -1;
}

static int images_from(const struct ls_migration *m, Lockstep__V1__DeviceDigest *const *from, size_t n,
		       struct ls_role_msg *msg, struct ls_error *err)
{
	for (size_t k = 0; k < n; k++) {
		int i = device_index(m, from[k]->device);
		if (i < 0 || (msg->devices & 1u << i) || from[k]->digest.len != LS_DIGEST_SIZE)
			return ls_fail(err, LS_E_INVALID, EPROTO,
				       "a digest of an unknown device, given twice, or of a wrong size");
		msg->devices |= 1u << i;
		msg->image[i].length = from[k]->length;
		memcpy(msg->image[i].digest, from[k]->digest.data, LS_DIGEST_SIZE);
	}
	return 0;
}

static int take_blob(struct ls_migration *m, const Lockstep__V1__Blob *blob, struct ls_error *err)
{
	uint8_t digest[LS_DIGEST_SIZE];

	ls_digest_of(blob->content.data, blob->content.len, digest);
	if (blob->digest.len != sizeof(digest) || memcmp(digest, blob->digest.data, sizeof(digest)) != 0)
		return ls_fail(err, LS_E_DIGEST_MISMATCH, EBADMSG, "a VMM blob is not what was sent");
	if (blob->device[0] && device_index(m, blob->device) < 0)
		return ls_fail(err, LS_E_INVALID, EPROTO, "a VMM blob of an unknown device");
	if (m->ended || ls_blobs_add(&m->blobs, blob->device, blob->content.data, blob->content.len) < 0)
		return ls_fail(err, LS_E_INVALID, EPROTO, "a VMM blob twice, too large or too late");
	return 0;
}

static void text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static void abort_error(const Lockstep__V1__ErrorDetail *from, struct ls_error *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!from)
		return;
	ls_fail(ret, ls_reason_parse(from->reason), from->errno_value > 0 ? from->errno_value : 0, "%.250s",
		from->message);
	text(ret->device, sizeof(ret->device), from->device);
	text(ret->arc, sizeof(ret->arc), from->arc);
	text(ret->host, sizeof(ret->host), from->host);
}

// 1: *msg is for the role; 0: nothing is; negative: malformed.
static int to_msg(struct ls_migration *m, const Frame *f, struct ls_role_msg *msg, struct ls_error *err)
{
	bool source = m->params.side == LS_SIDE_SOURCE;
	int r;

	memset(msg, 0, sizeof(*msg));
	switch (f->kind_case) {
	case LOCKSTEP__V1__FRAME__KIND_BLOB:
		return source ? -EPROTO : take_blob(m, f->blob, err);
	case LOCKSTEP__V1__FRAME__KIND_BLOBS_END:
		if (source || f->blobs_end->count != m->blobs.n)
			return ls_fail(err, LS_E_INVALID, EPROTO, "the count of VMM blobs does not agree");
		msg->kind = LS_MSG_BLOBS;
		return 1;
	case LOCKSTEP__V1__FRAME__KIND_CONSENT_REQUEST:
		msg->kind = LS_MSG_CONSENT_REQUEST;
		text(msg->ledger_id, sizeof(msg->ledger_id), f->consent_request->ledger_id);
		r = images_from(m, f->consent_request->device, f->consent_request->n_device, msg, err);
		return r < 0 ? r : 1;
	case LOCKSTEP__V1__FRAME__KIND_CONSENT:
		msg->kind = LS_MSG_CONSENT;
		text(msg->migration, sizeof(msg->migration), f->consent->migration);
		text(msg->vm, sizeof(msg->vm), f->consent->vm);
		text(msg->host, sizeof(msg->host), f->consent->destination_host);
		text(msg->ledger_id, sizeof(msg->ledger_id), f->consent->destination_ledger_id);
		r = images_from(m, f->consent->device, f->consent->n_device, msg, err);
		return r < 0 ? r : 1;
	case LOCKSTEP__V1__FRAME__KIND_STARTED:
		msg->kind = LS_MSG_STARTED;
		msg->resumed_ns = f->started->resumed_ns;
		return 1;
	case LOCKSTEP__V1__FRAME__KIND_ABORT:
		msg->kind = LS_MSG_ABORT;
		abort_error(f->abort->error, &msg->error);
		return 1;
	case LOCKSTEP__V1__FRAME__KIND_WORD_QUERY:
		msg->kind = LS_MSG_WORD_QUERY;
		msg->settle = f->word_query->settle;
		return 1;
	case LOCKSTEP__V1__FRAME__KIND_WORD:
		msg->kind = LS_MSG_WORD;
		msg->word = ls_word_parse(f->word->word);
		text(msg->ledger_id, sizeof(msg->ledger_id), f->word->ledger_id);
		return 1;
	default:
		return ls_fail(err, LS_E_INVALID, EPROTO, "a frame \"%s\" on a control connection",
			       ls_frame_kind_name(f));
	}
}

static void on_first(struct ls_migration *m, const Frame *f)
{
	struct ls_error err;

	if (f->kind_case == LOCKSTEP__V1__FRAME__KIND_OPENED && f->opened->protocol == LS_PROTOCOL) {
		ls_fault(agent_peer_up);
		m->conn_up = true;
		ls_migration_feed(m,
				  (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = f->opened->ledger_id });
		return;
	}
	if (f->kind_case == LOCKSTEP__V1__FRAME__KIND_ERROR)
		abort_error(f->error, &err);
	else
		ls_fail(&err, LS_E_INVALID, EPROTO, "the peer answered Open with \"%s\"", ls_frame_kind_name(f));
	drop(m, &err);
}

static void on_frame(void *user, const Frame *f)
{
	struct ls_migration *m = user;
	struct ls_role_msg msg;
	struct ls_error err;

	if (!m->conn_up) {
		on_first(m, f);
		return;
	}
	ls_fail(&err, LS_E_INVALID, EPROTO, "a frame \"%s\" out of place", ls_frame_kind_name(f));
	int r = to_msg(m, f, &msg, &err);
	if (r < 0)
		drop(m, &err);
	else if (r > 0) {
		ls_fault_of(agent_peer_receive, fault_name(msg.kind));
		ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER, .msg = &msg });
	}
}

static void on_lost(void *user, const struct ls_error *err)
{
	struct ls_migration *m = user;

	m->conn = NULL;
	drop(m, err);
}

static void on_open(void *user)
{
}

static const struct ls_conn_events conn_events = { .open = on_open, .frame = on_frame, .lost = on_lost };

void ls_migration_dial(struct ls_migration *m)
{
	Lockstep__V1__Open open;
	struct ls_error err;

	ls_fault(agent_peer_dial);
	ls_migration_hang_up(m);
	if (ls_conn_dial(m->agent->loop, m->peer_address, FIRST_FRAME_MS, &conn_events, m, &m->conn, &err) < 0) {
		ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER_LOST, .error = &err });
		return;
	}
	open_of(m, "", &open);
	SEND(m->conn, OPEN, open, &open);
}

int ls_migration_control(struct ls_migration *m, int fd, const char *peer_ledger_id, struct ls_error *err)
{
	Lockstep__V1__Opened opened;
	struct ls_conn *conn;

	if (ls_role_mute(m->role) || m->agent->silent.reason) {
		close(fd);
		return ls_fail(err, LS_E_LEDGER, 0, "this agent's ledger has failed");
	}
	if (ls_conn_adopt(m->agent->loop, fd, &conn_events, m, &conn, err) < 0)
		return -ENOMEM;
	if (m->conn)
		ls_migration_hang_up(m); // the role takes a second PEER_UP for a loss of the first
	m->conn = conn;
	m->conn_up = true;
	ls_fault(agent_peer_up);
	opened_of(m, &opened);
	SEND(conn, OPENED, opened, &opened);
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_PEER_UP, .ledger_id = peer_ledger_id });
	return 0;
}

int ls_migration_stream(struct ls_migration *m, int fd, const char *device, struct ls_error *err)
{
	int i = device_index(m, device), r = 0;

	if (i < 0)
		r = ls_fail(err, LS_E_NOT_FOUND, ENOENT, "the migration has no device %.63s", device);
	else if (m->slot[i].streamed || ls_role_unwinding(m->role) || m->ended)
		r = ls_fail(err, LS_E_INVALID, EALREADY,
			    "the device's stream has been opened before, or is not wanted any more");
	if (r < 0) {
		close(fd);
		return r;
	}
	m->slot[i].streamed = true;
	m->slot[i].stream = fd;
	ls_migration_feed(m, (struct ls_role_event){ .kind = LS_EV_STREAM, .device = (unsigned)i });
	return 0;
}

static void send_blobs(struct ls_migration *m)
{
	Lockstep__V1__BlobsEnd end = LOCKSTEP__V1__BLOBS_END__INIT;

	for (unsigned k = 0; k < m->blobs.n; k++) {
		Lockstep__V1__Blob blob = LOCKSTEP__V1__BLOB__INIT;
		uint8_t digest[LS_DIGEST_SIZE];
		blob.device = m->blobs.at[k].device;
		for (unsigned i = 0; i < m->params.schedule.n_devices; i++)
			if (strcmp(m->params.schedule.device[i].source_name, m->blobs.at[k].device) == 0)
				blob.device = m->params.schedule.device[i].dest_name;
		blob.content.data = m->blobs.at[k].content;
		blob.content.len = m->blobs.at[k].len;
		ls_digest_of(blob.content.data, blob.content.len, digest);
		blob.digest.data = digest;
		blob.digest.len = sizeof(digest);
		SEND(m->conn, BLOB, blob, &blob);
	}
	end.count = m->blobs.n;
	SEND(m->conn, BLOBS_END, blobs_end, &end);
}

void ls_migration_send(struct ls_migration *m, const struct ls_role_action *action)
{
	Lockstep__V1__DeviceDigest digest[LS_MAX_DEVICES], *list[LS_MAX_DEVICES];
	Lockstep__V1__ConsentRequest request = LOCKSTEP__V1__CONSENT_REQUEST__INIT;
	Lockstep__V1__Consent consent = LOCKSTEP__V1__CONSENT__INIT;
	Lockstep__V1__Started started = LOCKSTEP__V1__STARTED__INIT;
	Lockstep__V1__Abort gave_up = LOCKSTEP__V1__ABORT__INIT;
	Lockstep__V1__ErrorDetail detail;
	Lockstep__V1__WordQuery query = LOCKSTEP__V1__WORD_QUERY__INIT;
	Lockstep__V1__Word word = LOCKSTEP__V1__WORD__INIT;
	struct ls_role_msg msg;
	unsigned n = m->params.schedule.n_devices;

	if (!m->conn)
		return;
	ls_fault_of(agent_peer_send, fault_name(action->msg));
	ls_role_fill(m->role, action, &msg);
	for (unsigned i = 0; i < n; i++) {
		lockstep__v1__device_digest__init(&digest[i]);
		digest[i].device = m->params.schedule.device[i].dest_name;
		digest[i].length = msg.image[i].length;
		digest[i].digest.data = msg.image[i].digest;
		digest[i].digest.len = LS_DIGEST_SIZE;
		list[i] = &digest[i];
	}
	switch (action->msg) {
	case LS_MSG_BLOBS:
		send_blobs(m);
		break;
	case LS_MSG_CONSENT_REQUEST:
		request.ledger_id = msg.ledger_id;
		request.n_device = n;
		request.device = list;
		SEND(m->conn, CONSENT_REQUEST, consent_request, &request);
		break;
	case LS_MSG_CONSENT:
		consent.migration = msg.migration;
		consent.vm = msg.vm;
		consent.destination_host = msg.host;
		consent.destination_ledger_id = msg.ledger_id;
		consent.n_device = n;
		consent.device = list;
		SEND(m->conn, CONSENT, consent, &consent);
		break;
	case LS_MSG_STARTED:
		started.resumed_ns = msg.resumed_ns;
		SEND(m->conn, STARTED, started, &started);
		break;
	case LS_MSG_ABORT:
		ls_error_to_pb(&msg.error, &detail);
		gave_up.error = &detail;
		SEND(m->conn, ABORT, abort, &gave_up);
		break;
	case LS_MSG_WORD_QUERY:
		query.settle = msg.settle;
		SEND(m->conn, WORD_QUERY, word_query, &query);
		break;
	case LS_MSG_WORD:
		word.word = (char *)ls_word_name(msg.word);
		word.ledger_id = msg.ledger_id;
		SEND(m->conn, WORD, word, &word);
		break;
	default:
		break;
	}
	ls_fault_of(agent_peer_sent, fault_name(action->msg));
}
