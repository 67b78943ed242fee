// SPDX-License-Identifier: Apache-2.0
// A disk for SQLite that fails, or whose power is cut, at its n-th write, sync or truncation: a VFS over the default
// one, which it replaces as the default. One database's files at a time, and one thread at a time.
//
// A power cut keeps what was synced, and of what was not: nothing, everything, or every other write with the last
// one torn. Names of files are durable at once; the shared-memory index is not.
#ifndef TESTS_UNIT_FAULT_VFS_H
#define TESTS_UNIT_FAULT_VFS_H

#include <stdbool.h>

enum fault_kind { FAULT_NONE, FAULT_EIO_ONCE, FAULT_EIO, FAULT_FULL, FAULT_READONLY, FAULT_CUT, FAULT_KINDS };
enum fault_kept { KEPT_NOTHING, KEPT_EVERYTHING, KEPT_TORN, FAULT_KEPTS };

void fault_vfs_install(void);
// A new run: counts from 1, `at` 0 never strikes. `lies`: the disk says it has synced, and has not.
void fault_vfs_begin(enum fault_kind kind, unsigned long at, enum fault_kept kept, bool lies);
unsigned long fault_vfs_count(void);
bool fault_vfs_struck(void);
// After everything is closed: after a cut the files become what the disk has; all is well from now on.
void fault_vfs_repair(void);

#endif
