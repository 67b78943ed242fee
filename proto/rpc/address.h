/* SPDX-License-Identifier: Apache-2.0 */
/* Where to listen or to connect: "IP:port", "[IPv6]:port", "name:port", "unix:/path". */
#ifndef LS_PROTO_RPC_ADDRESS_H
#define LS_PROTO_RPC_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LS_ADDRESS_SIZE 300 /* any address as text */

enum ls_address_kind {
	LS_ADDRESS_IP,
	LS_ADDRESS_NAME, /* to be resolved: clients only */
	LS_ADDRESS_UNIX,
};

struct ls_address {
	enum ls_address_kind kind;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} socket; /* LS_ADDRESS_IP and LS_ADDRESS_UNIX */
	char host[254]; /* LS_ADDRESS_NAME */
	char port[6];
	char text[LS_ADDRESS_SIZE]; /* as it was written */
};

/* -EINVAL with one line in why that quotes the text and says what is wrong with it. */
int ls_address_parse(const char *text, struct ls_address *ret_address, char *why,
		     size_t why_size);

/* 127.0.0.0/8, ::1 or a unix socket; a name is not, whatever it resolves to. */
bool ls_address_is_local(const struct ls_address *address);

/* "127.0.0.1:7001", "[::1]:7001", "unix:/path". */
void ls_address_format(const struct sockaddr *socket, char *text, size_t size);

/*
 * Before bind: a socket file whose server is gone refuses connections, and
 * stands in the way. Removes it; leaves alone what answers, or is no socket.
 * type: SOCK_STREAM or SOCK_SEQPACKET, as the server's.
 */
void ls_address_remove_dead(const struct sockaddr_un *address, int type);

#endif
