// SPDX-License-Identifier: Apache-2.0
// How long the rest of a blackout takes at least, from what is known of it. Pure.
#ifndef LS_AGENT_REST_H
#define LS_AGENT_REST_H

#include <stdint.h>

// One device's stream while its image is sent.
struct ls_rest {
	uint64_t total;      // bytes of the image as the device estimates them once it has stopped; 0: not known
	uint64_t before;     // of these, sent while the VM still ran
	uint64_t sent;       // and since then
	uint64_t sending_ns; // for how long; 0: has not begun
};

#define LS_REST_MEASURE_NS 100000000ull // a rate measured over less means nothing

// Devices go in parallel: the slowest counts. `load_ns`: what is left when all is sent, as it is known; 0: it is not.
// What pre-copy sent may have to be sent again, and what was estimated may be more than there is: no device is made to
// look slower than it is. 0 where nothing is known.
uint64_t ls_rest_ns(const struct ls_rest *device, unsigned n, uint64_t load_ns);

#endif
