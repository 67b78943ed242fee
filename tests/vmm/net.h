// SPDX-License-Identifier: Apache-2.0
// Blocking TCP, the little that the RAM mover needs, and the sockets of control and agent. Negative errno.
#ifndef TV_NET_H
#define TV_NET_H

#include <stddef.h>

// "HOST:PORT", numbers only; [::1]:PORT for IPv6.
int tv_socket_for(const char *address);
int tv_connect(int fd, const char *address, int timeout_ms);
int tv_listen(const char *address, char *bound, size_t bound_size);
int tv_unix_listen(const char *path);                     // SOCK_STREAM
int tv_unix_connect(const char *path, int type);          // SOCK_STREAM, SOCK_SEQPACKET

int tv_send_all(int fd, const void *buf, size_t len);
int tv_receive_all(int fd, void *buf, size_t len);        // -ECONNRESET: ended before

#endif
