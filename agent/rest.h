// SPDX-License-Identifier: Apache-2.0
// How long the rest of a blackout takes at least, from what is known of it. Pure.
#ifndef LS_AGENT_REST_H
#define LS_AGENT_REST_H

#include <stdint.h>

// One device's stream while its image is sent.
struct ls_rest {
	uint64_t total;      // bytes of the image as far as they are known beforehand; 0: not known
	uint64_t sent;       // of these
	uint64_t sending_ns; // since its first; 0: has not begun
	uint64_t load_ns;    // what the destination needs after the last byte, as it was measured; 0: not known
};

#define LS_REST_MEASURE_NS 100000000ull // a rate measured over less means nothing

// Devices go in parallel: the slowest counts. 0 where nothing is known.
uint64_t ls_rest_ns(const struct ls_rest *device, unsigned n);

#endif
