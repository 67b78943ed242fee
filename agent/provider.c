// SPDX-License-Identifier: Apache-2.0
#include "agent/provider.h"

#include <string.h>

const struct ls_provider *ls_provider_find(const char *name)
{
	static const struct ls_provider *const all[] = {&ls_provider_vfio, &ls_provider_sim};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}
