/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/server_internal.h"

#define MIB ((size_t)1 << 20)

int ls_rpc_server_create(uv_loop_t *loop, const struct ls_rpc_server_options *options,
			 struct ls_rpc_server **ret_server)
{
	struct ls_rpc_server *server = calloc(1, sizeof(*server));
	struct ls_rpc_server_options *o;

	if (!server)
		return -ENOMEM;
	ls_transport_ignore_sigpipe();
	server->loop = loop;
	ls_list_init(&server->conns);
	o = &server->options;
	if (options)
		*o = *options;
	o->max_message = o->max_message ? o->max_message : 4 * MIB;
	o->max_receiving = o->max_receiving ? o->max_receiving : 64 * MIB;
	o->max_queued = o->max_queued ? o->max_queued : 4 * MIB;
	o->max_connections = o->max_connections ? o->max_connections : 256;
	o->max_calls = o->max_calls ? o->max_calls : 256;
	o->handshake_ms = o->handshake_ms ? o->handshake_ms : 10000;
	*ret_server = server;
	return 0;
}

const struct ls_rpc_method *ls_server_find(const struct ls_rpc_server *server, const char *path)
{
	for (size_t t = 0; t < server->n_tables; t++)
		for (size_t i = 0; i < server->tables[t].count; i++)
			if (strcmp(server->tables[t].methods[i].path, path) == 0)
				return &server->tables[t].methods[i];
	return NULL;
}

int ls_rpc_server_add(struct ls_rpc_server *server, const struct ls_rpc_method *methods,
		      size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ls_server_find(server, methods[i].path))
			return -EEXIST;
	if (server->n_tables == LS_METHOD_TABLES_MAX)
		return -ENOSPC;
	server->tables[server->n_tables].methods = methods;
	server->tables[server->n_tables].count = count;
	server->n_tables++;
	return 0;
}

static void refuse(struct ls_rpc_server *server, struct ls_transport *transport, const char *why)
{
	if (server->options.on_peer_error)
		server->options.on_peer_error(server->options.user, transport->peer, why);
	ls_transport_close(transport);
}

static void on_accept(void *user, struct ls_transport *transport)
{
	struct ls_rpc_server *server = user;

	if (server->n_conns >= server->options.max_connections)
		refuse(server, transport, "too many connections");
	else
		ls_conn_accept(server, transport);
}

int ls_rpc_server_listen(struct ls_rpc_server *server, const char *text, char *why,
			 size_t why_size)
{
	struct ls_address address;
	int r;

	r = ls_address_parse(text, &address, why, why_size);
	if (r < 0)
		return r;
	if (server->n_listeners == LS_LISTENERS_MAX) {
		snprintf(why, why_size, "cannot listen on %s: %d addresses are the most", text,
			 LS_LISTENERS_MAX);
		return -ENOSPC;
	}
	r = ls_listener_create(server->loop, &address, on_accept, server,
			       &server->listeners[server->n_listeners], why, why_size);
	if (r == 0)
		server->n_listeners++;
	return r;
}

const char *ls_rpc_server_address(const struct ls_rpc_server *server, size_t n)
{
	return n < server->n_listeners ? ls_listener_address(server->listeners[n]) : NULL;
}

static void close_listeners(struct ls_rpc_server *server)
{
	for (size_t i = 0; i < server->n_listeners; i++)
		ls_listener_close(server->listeners[i]);
	server->n_listeners = 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void drop_timer(struct ls_rpc_server *server)
{
	if (server->drained_timer)
		uv_close((uv_handle_t *)server->drained_timer, on_timer_closed);
	server->drained_timer = NULL;
}

static void drained(struct ls_rpc_server *server)
{
	void (*on_drained)(void *user) = server->on_drained;

	server->on_drained = NULL;
	drop_timer(server);
	if (on_drained)
		on_drained(server->drained_user);
}

static void on_drained_timer(uv_timer_t *timer)
{
	drained(timer->data);
}

void ls_server_conn_gone(struct ls_rpc_server *server)
{
	if (server->shut_down && ls_list_empty(&server->conns))
		drained(server);
}

/* Nobody is connected: the news comes from the loop all the same. */
static void drain_from_loop(struct ls_rpc_server *server)
{
	server->drained_timer = malloc(sizeof(*server->drained_timer));
	if (!server->drained_timer) {
		drained(server);
		return;
	}
	uv_timer_init(server->loop, server->drained_timer);
	server->drained_timer->data = server;
	uv_timer_start(server->drained_timer, on_drained_timer, 0, 0);
}

void ls_rpc_server_shutdown(struct ls_rpc_server *server, void (*on_drained)(void *user),
			    void *user)
{
	if (server->shut_down)
		return;
	server->shut_down = true;
	server->on_drained = on_drained;
	server->drained_user = user;
	close_listeners(server);
	if (ls_list_empty(&server->conns)) {
		drain_from_loop(server);
		return;
	}
	for (struct ls_link *l = server->conns.next; l != &server->conns; l = l->next)
		ls_conn_goodbye(ls_container(l, struct conn, link));
}

void ls_rpc_server_destroy(struct ls_rpc_server *server)
{
	if (!server)
		return;
	server->shut_down = true;
	server->on_drained = NULL;
	close_listeners(server);
	while (!ls_list_empty(&server->conns))
		ls_conn_abort(ls_container(server->conns.next, struct conn, link));
	drop_timer(server);
	free(server);
}
