// SPDX-License-Identifier: Apache-2.0
// A non-blocking byte channel, the place where TLS slips in under a device's stream: a TLS channel implements the
// same operations over a plain one, and may want to read in order to write.
#ifndef LS_AGENT_CHAN_H
#define LS_AGENT_CHAN_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ls_chan;

struct ls_chan_ops {
	// Bytes, or negative errno; -EAGAIN with *wait = POLLIN or POLLOUT. recv: 0 is the peer's end.
	ssize_t (*recv)(struct ls_chan *c, void *buf, size_t len, short *wait);
	ssize_t (*send)(struct ls_chan *c, const struct iovec *iov, int n, short *wait);
	void (*shutdown)(struct ls_chan *c); // both directions; the fd stays
	void (*free)(struct ls_chan *c);     // closes the fd
};

struct ls_chan {
	const struct ls_chan_ops *ops;
	int fd;
};

// A connected stream socket, taken over (also on failure). NULL: no memory.
struct ls_chan *ls_chan_plain(int fd);

#endif
