/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of links: the head is a link, a member embeds one. */
#ifndef LS_PROTO_RPC_LIST_H
#define LS_PROTO_RPC_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct ls_link {
	struct ls_link *next;
	struct ls_link *prev;
};

#define ls_container(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

static inline void ls_list_init(struct ls_link *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool ls_list_empty(const struct ls_link *head)
{
	return head->next == head;
}

static inline void ls_list_append(struct ls_link *head, struct ls_link *link)
{
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

static inline void ls_list_remove(struct ls_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	ls_list_init(link);
}

/* Moves all members of from to the empty list to. */
static inline void ls_list_take(struct ls_link *to, struct ls_link *from)
{
	if (ls_list_empty(from)) {
		ls_list_init(to);
		return;
	}
	*to = *from;
	to->next->prev = to;
	to->prev->next = to;
	ls_list_init(from);
}

#endif
