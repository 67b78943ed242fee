// SPDX-License-Identifier: Apache-2.0
// Where other agents connect. The first frame of a connection must be an Open that names a migration of
// ours and carries its token; then the connection goes to the device's worker, or stays as the
// migration's control connection.
#ifndef LS_AGENT_PEER_H
#define LS_AGENT_PEER_H

#include "agent/agent.h"

// Listens on the configured stream address. CONFIG: cannot. Loop thread.
int ls_peers_open(struct ls_agent *a, struct ls_peers **ret, struct ls_error *err);
const char *ls_peers_address(const struct ls_peers *p); // with the port that was bound
void ls_peers_close(struct ls_peers *p);                // NULL is fine

#endif
