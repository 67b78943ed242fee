/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * lsm: the lockstep virtual device. These headers are its contract, for the guest
 * (lsm_map.h), for the shell that hosts it (lsm_dev.h; the kernel driver, the
 * agent's sim) and for migration (lsm_image.h).
 *
 * The model has no threads, locks or I/O of its own. "Locked" in them means that
 * the caller holds the lock that env->lock() takes; every call is locked unless
 * its comment says otherwise. Errors are negative errno.
 */
#ifndef LSM_H
#define LSM_H

#include "lsm_dev.h"
#include "lsm_image.h"
#include "lsm_map.h"

#endif
