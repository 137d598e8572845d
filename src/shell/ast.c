// SPDX-License-Identifier: MIT
/* A script's memory: nodes and strings come from chunks that go all at once. */
#include "shell/ast.h"

#include <stdlib.h>
#include <string.h>

#include "shell/text.h"

enum { CHUNK = 8192 };

struct arena {
	struct arena *next;
	size_t used, size;
	_Alignas(16) char data[];
};

static void *arena_alloc(struct script *s, size_t size)
{
	struct arena *a = s->arena;
	void *p;

	size = ALIGN_UP(size, (size_t)16);
	if (!a || a->size - a->used < size) {
		size_t room = MAX(size, (size_t)CHUNK);

		a = malloc(sizeof(*a) + room);
		if (!a)
			abort();
		*a = (struct arena){ .next = s->arena, .size = room };
		s->arena = a;
	}
	p = a->data + a->used;
	a->used += size;
	return p;
}

struct script *script_create(const char *text, size_t len)
{
	struct script *s = calloc(1, sizeof(*s));

	if (!s || !(s->text = malloc(len + 1)) || !(s->values = json_array()))
		abort();
	memcpy(s->text, text, len);
	s->text[len] = 0;
	s->len = len;
	return s;
}

struct node *script_node(struct script *s, enum node_kind kind)
{
	struct node *n = arena_alloc(s, sizeof(*n));

	*n = (struct node){ .kind = kind, .script = s };
	return n;
}

char *script_string(struct script *s, const char *text, size_t len)
{
	char *copy = arena_alloc(s, len + 1);

	memcpy(copy, text, len);
	copy[len] = 0;
	return copy;
}

json_t *script_value(struct script *s, json_t *value)
{
	if (!value)
		value = json_null();
	json_array_append_new(s->values, value);
	return value;
}

void script_destroy(struct script *s)
{
	if (!s)
		return;
	for (struct arena *a = s->arena, *next; a; a = next) {
		next = a->next;
		free(a);
	}
	json_decref(s->values);
	free((char *)s->file);
	free(s->text);
	free(s);
}

struct script_place script_locate(const struct script *s, u32 at)
{
	struct script_place p = { .line = 1, .column = 1, .text = s->text };
	const char *end = s->text + s->len;
	const char *to = s->text + MIN((size_t)at, s->len);

	for (const char *c = s->text; c < to; c++) {
		if (*c == '\n') {
			p.line++;
			p.text = c + 1;
		}
	}
	for (const char *c = p.text; c < to; c++)
		p.column += ((u8)*c & 0xc0) != 0x80;
	while (p.text + p.len < end && !strchr("\r\n", p.text[p.len]))
		p.len++;
	return p;
}
