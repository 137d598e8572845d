// SPDX-License-Identifier: MIT
/* Completion, from the cmdlets' own tables. */
#include "shell/complete.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "control/client.h"
#include "shell/cmdlet.h"
#include "shell/text.h"

enum { MAX_WORDS = 64, MAX_FOUND = 400 };

/* The command at the cursor: its words, the last being what is completed. */
struct words {
	const char *s[MAX_WORDS];
	size_t len[MAX_WORDS];
	unsigned nr;
};

/* ---- Where the cursor is ------------------------------------------------------------------- */

static bool starts_command(u32 cp)
{
	return cp_in(cp, "|;({&") || cp_is_newline(cp);
}

/* Splits the last command of @line into words; quoted text is one. */
static void split(const char *line, struct words *w)
{
	const char *s = line, *end = line + strlen(line);
	u32 quote = 0;
	unsigned n;

	w->nr = 0;
	w->s[0] = line;
	w->len[0] = 0;
	for (bool in_word = false; s < end; s += n) {
		u32 cp = utf8_decode(s, end, &n);
		bool blank = !quote && (cp_is_blank(cp) || cp == ',' || cp == '=');

		if (quote) {
			if (quote == '"' ? cp_is_dquote(cp) : cp_is_squote(cp))
				quote = 0;
		} else if (starts_command(cp)) {
			w->nr = 0;
			in_word = false;
			continue;
		} else if (cp_is_dquote(cp) || cp_is_squote(cp)) {
			quote = cp_is_dquote(cp) ? '"' : '\'';
		}
		if (blank) {
			in_word = false;
			continue;
		}
		if (!in_word && w->nr < MAX_WORDS - 1) {
			w->s[w->nr] = s;
			w->len[w->nr++] = 0;
		}
		in_word = true;
		w->len[w->nr - 1] = (size_t)(s + n - w->s[w->nr - 1]);
	}
	if (!w->nr || w->s[w->nr - 1] + w->len[w->nr - 1] != end) {
		w->s[w->nr] = end;
		w->len[w->nr++] = 0;
	}
}

static bool is_param_word(const char *s, size_t len, unsigned *dash)
{
	return len && cp_is_dash(utf8_decode(s, s + len, dash));
}

/* ---- Candidates ------------------------------------------------------------------------------- */

struct found {
	json_t *list;
	const char *prefix; /* without quote */
};

static void add(struct found *f, const char *word)
{
	if (text_has_prefix(word, f->prefix) && json_array_size(f->list) < MAX_FOUND)
		json_array_append_new(f->list, json_string(word));
}

/* A name as it must be typed. */
static void add_quoted(struct found *f, const char *name)
{
	bool plain = *name != 0;
	char *quoted, *to;

	if (!text_has_prefix(name, f->prefix) || json_array_size(f->list) >= MAX_FOUND)
		return;
	for (const char *s = name; *s; s++)
		plain &= (u8)*s >= 0x80 || strchr("._-/~+:\\", *s) || cp_is_word((u8)*s);
	plain &= *name != '-';
	if (plain) {
		json_array_append_new(f->list, json_string(name));
		return;
	}
	quoted = malloc(strlen(name) * 2 + 3);
	to = quoted;
	*to++ = '\'';
	for (const char *s = name; *s; s++) {
		if (*s == '\'')
			*to++ = '\'';
		*to++ = *s;
	}
	strcpy(to, "'");
	json_array_append_new(f->list, json_string(quoted));
	free(quoted);
}

static void add_cmdlets(struct found *f)
{
	const struct cmdlet *c;

	for (unsigned i = 0; (c = cmdlet_at(i)); i++)
		add(f, c->name);
}

static void add_params(struct found *f, const struct param *p)
{
	char word[80];

	for (; p && p->name; p++) {
		snprintf(word, sizeof(word), "-%s", p->name);
		add(f, word);
	}
}

static void add_all_params(struct found *f, const struct cmdlet *c)
{
	add_params(f, c->params);
	if (c->changes)
		add_params(f, change_params);
	add_params(f, common_params);
}

static void add_list(struct found *f, const char *words)
{
	char word[80];

	while (words && *words) {
		size_t n = strcspn(words, "|");

		snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), words);
		add(f, word);
		words += n + (words[n] == '|');
	}
}

static void add_vms(struct found *f, struct shell *sh)
{
	json_t *all = NULL, *vm;
	struct ctl_err e;
	size_t i;

	if ((!sh->client && client_open(&sh->client, &e)) || client_list_vms(sh->client, &all, &e))
		return;
	json_array_foreach(all, i, vm)
		add_quoted(f, json_string_value(json_object_get(vm, "name")) ?: "");
	json_decref(all);
}

static void add_variables(struct found *f, struct shell *sh)
{
	const char *k;
	json_t *v;
	char word[200];

	add_list(f, "$true|$false|$null|$_|$Error|$LASTEXITCODE");
	json_object_foreach(sh->vars, k, v)
	{
		snprintf(word, sizeof(word), "$%s", k);
		add(f, word);
	}
}

static void add_files(struct found *f)
{
	const char *slash = strrchr(f->prefix, '/');
	char dir[4096], path[8192];
	struct dirent *entry;
	struct stat st;
	DIR *d;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - f->prefix + 1) : 0, f->prefix);
	d = opendir(slash ? dir : ".");
	while (d && (entry = readdir(d))) {
		if (entry->d_name[0] == '.' && (!slash || slash[1] != '.'))
			continue;
		snprintf(path, sizeof(path), "%s%s", dir, entry->d_name);
		if (!stat(path, &st) && S_ISDIR(st.st_mode))
			strncat(path, "/", sizeof(path) - strlen(path) - 1);
		if (!strncmp(path, f->prefix, strlen(f->prefix)))
			add_quoted(f, path);
	}
	if (d)
		closedir(d);
}

/* ---- Values ------------------------------------------------------------------------------------- */

static const struct param *param_named(const struct cmdlet *c, const char *name, size_t len)
{
	const struct param *const tables[] = { c->params, common_params,
					       c->changes ? change_params : NULL };
	const struct param *found = NULL;

	for (unsigned t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct param *p = tables[t]; p && p->name; p++) {
			if (strlen(p->name) == len && !text_casencmp(p->name, name, len))
				return p;
			if (!found && strlen(p->name) >= len && !text_casencmp(p->name, name, len))
				found = p;
		}
	}
	return found;
}

static const struct param *param_at(const struct cmdlet *c, unsigned position)
{
	for (const struct param *p = c->params; p->name; p++)
		if (p->pos == position)
			return p;
	return NULL;
}

/* The parameter whose value the last word is. */
static const struct param *param_of_last(const struct cmdlet *c, const struct words *w)
{
	const struct param *waiting = NULL;
	unsigned position = 1, dash;

	for (unsigned i = 1; i + 1 < w->nr; i++) {
		if (is_param_word(w->s[i], w->len[i], &dash)) {
			waiting = param_named(c, w->s[i] + dash, w->len[i] - dash);
			if (waiting && waiting->type == T_SWITCH)
				waiting = NULL;
		} else if (waiting) {
			waiting = NULL;
		} else {
			position++;
		}
	}
	return waiting ? waiting : param_at(c, position);
}

static bool names_vms(const struct cmdlet *c, const struct param *p)
{
	bool vm_noun = strstr(c->name, "-VM") != NULL && c->hyperv;

	return vm_noun &&
	       (text_equal(p->name, "VMName") || (text_equal(p->name, "Name") && p->alias)) &&
	       !text_equal(c->name, "New-VM");
}

static void add_values(struct found *f, struct shell *sh, const struct cmdlet *c,
		       const struct param *p)
{
	if (p->type == T_ENUM || p->type == T_ENUMS)
		add_list(f, p->words);
	else if (p->type == T_BOOL)
		add_list(f, "$true|$false");
	else if (names_vms(c, p))
		add_vms(f, sh);
	else if (strstr(p->name, "Path"))
		add_files(f);
	else if (text_in_list(c->name, "Get-Help|Get-Command"))
		add_cmdlets(f);
}

static int compare_words(const void *a, const void *b)
{
	return text_casecmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, each once. */
static json_t *sorted_new(json_t *list)
{
	size_t nr = json_array_size(list);
	const char **words = calloc(nr + 1, sizeof(*words));
	json_t *sorted = json_array();

	for (size_t i = 0; words && i < nr; i++)
		words[i] = json_string_value(json_array_get(list, i));
	if (words)
		qsort(words, nr, sizeof(*words), compare_words);
	for (size_t i = 0; words && i < nr; i++)
		if (!i || strcmp(words[i - 1], words[i]))
			json_array_append_new(sorted, json_string(words[i]));
	free(words);
	json_decref(list);
	return sorted;
}

json_t *complete_new(struct shell *sh, const char *line, size_t *start)
{
	struct words w;
	struct found f = { json_array(), "" };
	const struct cmdlet *c;
	const struct param *p;
	char name[80];
	unsigned dash;
	const char *last;
	size_t len;
	u32 first;

	split(line, &w);
	last = w.s[w.nr - 1];
	len = w.len[w.nr - 1];
	*start = (size_t)(last - line);
	f.prefix = last;
	first = utf8_decode(last, last + len, &dash);
	if (w.nr == 1 && !cp_in(first, "$./")) {
		add_cmdlets(&f);
		return sorted_new(f.list);
	}
	if (first == '$') {
		add_variables(&f, sh);
		return sorted_new(f.list);
	}
	snprintf(name, sizeof(name), "%.*s", (int)MIN(w.len[0], sizeof(name) - 1), w.s[0]);
	c = cmdlet_find(name);
	if (c && cp_is_dash(first)) {
		snprintf(name, sizeof(name), "-%.*s", (int)MIN(len - dash, sizeof(name) - 2),
			 last + dash);
		f.prefix = name;
		add_all_params(&f, c);
		return sorted_new(f.list);
	}
	if (cp_is_dquote(first) || cp_is_squote(first))
		f.prefix += dash;
	p = c ? param_of_last(c, &w) : NULL;
	if (p)
		add_values(&f, sh, c, p);
	else if (!c)
		add_files(&f);
	return sorted_new(f.list);
}
