/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHAPES "want IP:port, [IPv6]:port, name:port or unix:/path"

__attribute__((format(printf, 4, 5))) static int bad(const char *text, char *why, size_t why_size,
						     const char *format, ...)
{
	char reason[160];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	if (why_size)
		snprintf(why, why_size, "address \"%.*s\": %s", 200, text, reason);
	return -EINVAL;
}

static int parse_port(const char *text, unsigned *ret_port)
{
	unsigned port = 0;
	size_t len = strlen(text);

	if (len < 1 || len > 5 || strspn(text, "0123456789") != len)
		return -EINVAL;
	port = (unsigned)strtoul(text, NULL, 10);
	if (port > 65535)
		return -EINVAL;
	*ret_port = port;
	return 0;
}

static int parse_unix(const char *text, struct ls_address *address, char *why, size_t why_size)
{
	const char *path = text + strlen("unix:");
	size_t len = strlen(path);

	if (path[0] != '/')
		return bad(text, why, why_size, "a unix socket's path must be absolute");
	if (len >= sizeof(address->socket.local.sun_path))
		return bad(text, why, why_size, "a unix socket's path has at most %zu bytes",
			   sizeof(address->socket.local.sun_path) - 1);
	address->kind = LS_ADDRESS_UNIX;
	address->socket.local.sun_family = AF_UNIX;
	memcpy(address->socket.local.sun_path, path, len + 1);
	return 0;
}

static bool is_name(const char *host)
{
	return host[0] && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789.-_") == strlen(host);
}

static int parse_host(const char *text, const char *host, bool bracketed, unsigned port,
		      struct ls_address *address, char *why, size_t why_size)
{
	if (bracketed) {
		if (inet_pton(AF_INET6, host, &address->socket.v6.sin6_addr) != 1)
			return bad(text, why, why_size, "not an IPv6 address between the brackets");
		address->kind = LS_ADDRESS_IP;
		address->socket.v6.sin6_family = AF_INET6;
		address->socket.v6.sin6_port = htons((uint16_t)port);
		return 0;
	}
	if (strchr(host, ':'))
		return bad(text, why, why_size, "an IPv6 address goes in brackets: [::1]:7001");
	if (inet_pton(AF_INET, host, &address->socket.v4.sin_addr) == 1) {
		address->kind = LS_ADDRESS_IP;
		address->socket.v4.sin_family = AF_INET;
		address->socket.v4.sin_port = htons((uint16_t)port);
		return 0;
	}
	if (!is_name(host))
		return bad(text, why, why_size, "not an IP address or host name; " SHAPES);
	if (strspn(host, "0123456789.") == strlen(host))
		return bad(text, why, why_size, "not an IPv4 address");
	if (port == 0)
		return bad(text, why, why_size, "the port must be 1 to 65535");
	address->kind = LS_ADDRESS_NAME;
	return 0;
}

int ls_address_parse(const char *text, struct ls_address *ret_address, char *why, size_t why_size)
{
	struct ls_address address = { .kind = LS_ADDRESS_IP };
	const char *colon = strrchr(text, ':');
	const char *host = text;
	bool bracketed = text[0] == '[';
	size_t host_len;
	unsigned port;
	int r;

	if (strlen(text) >= sizeof(address.text))
		return bad(text, why, why_size, "too long");
	memcpy(address.text, text, strlen(text) + 1);
	if (strncmp(text, "unix:", strlen("unix:")) == 0) {
		r = parse_unix(text, &address, why, why_size);
		if (r == 0)
			*ret_address = address;
		return r;
	}
	if (!colon)
		return bad(text, why, why_size, "no port; " SHAPES);
	if (parse_port(colon + 1, &port) < 0)
		return bad(text, why, why_size, "the port must be 0 to 65535");
	host_len = (size_t)(colon - text);
	if (bracketed) {
		if (host_len < 2 || colon[-1] != ']')
			return bad(text, why, why_size, SHAPES);
		host++;
		host_len -= 2;
	}
	if (host_len >= sizeof(address.host))
		return bad(text, why, why_size, "the host name is too long");
	memcpy(address.host, host, host_len);
	snprintf(address.port, sizeof(address.port), "%u", port);
	r = parse_host(text, address.host, bracketed, port, &address, why, why_size);
	if (r == 0)
		*ret_address = address;
	return r;
}

bool ls_address_is_local(const struct ls_address *address)
{
	if (address->kind == LS_ADDRESS_UNIX)
		return true;
	if (address->kind != LS_ADDRESS_IP)
		return false;
	if (address->socket.any.sa_family == AF_INET)
		return ntohl(address->socket.v4.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&address->socket.v6.sin6_addr);
}

void ls_address_format(const struct sockaddr *socket, char *text, size_t size)
{
	char ip[INET6_ADDRSTRLEN];

	switch (socket->sa_family) {
	case AF_INET: {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)socket;

		inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof(ip));
		snprintf(text, size, "%s:%u", ip, (unsigned)ntohs(v4->sin_port));
		return;
	}
	case AF_INET6: {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)socket;

		inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof(ip));
		snprintf(text, size, "[%s]:%u", ip, (unsigned)ntohs(v6->sin6_port));
		return;
	}
	case AF_UNIX:
		snprintf(text, size, "unix:%s", ((const struct sockaddr_un *)socket)->sun_path);
		return;
	default:
		snprintf(text, size, "(address family %d)", socket->sa_family);
	}
}

void ls_address_remove_dead(const struct sockaddr_un *address, int type)
{
	struct stat st;
	int fd;

	if (lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(address->sun_path);
	close(fd);
}
