// SPDX-License-Identifier: MIT
/*
 * The line editor.
 *
 * Theory of operation
 *
 * The terminal is raw while a line is read. Keys are bytes or escape sequences; each
 * changes the text or the cursor (a byte offset between characters), then the line is
 * drawn again, scrolled sideways when it is wider than the terminal.
 */
#include "shell/line.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "shell/text.h"

enum { MAX_LINE = 65536, MAX_HISTORY = 500, MAX_SHOWN = 200 };

struct line_editor {
	int in, out;
	line_complete_fn *complete;
	void *opaque;
	char *text;
	size_t len, cap, cursor;
	char *history[MAX_HISTORY];
	unsigned nr_history, at; /* at == nr_history: the new line */
	char *unfinished;	 /* the new line, while history is shown */
	const char *prompt;
	int pending; /* a byte that was read too early, or 0 */
};

struct line_editor *line_create(int in, int out, line_complete_fn *complete, void *opaque)
{
	struct line_editor *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	l->in = in;
	l->out = out;
	l->complete = complete;
	l->opaque = opaque;
	return l;
}

void line_destroy(struct line_editor *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < l->nr_history; i++)
		free(l->history[i]);
	free(l->unfinished);
	free(l->text);
	free(l);
}

/* ---- History ------------------------------------------------------------------------------ */

void line_remember(struct line_editor *l, const char *text)
{
	if (!*text || (l->nr_history && !strcmp(l->history[l->nr_history - 1], text)))
		return;
	if (l->nr_history == MAX_HISTORY) {
		free(l->history[0]);
		memmove(l->history, l->history + 1, (MAX_HISTORY - 1) * sizeof(*l->history));
		l->nr_history--;
	}
	l->history[l->nr_history++] = strdup(text);
}

void line_load_history(struct line_editor *l, const char *path)
{
	FILE *f = path ? fopen(path, "r") : NULL;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	while (f && (n = getline(&line, &cap, f)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = 0;
		line_remember(l, line);
	}
	free(line);
	if (f)
		fclose(f);
}

void line_save_history(const struct line_editor *l, const char *path)
{
	FILE *f = path ? fopen(path, "w") : NULL;

	if (!f)
		return;
	for (unsigned i = 0; i < l->nr_history; i++)
		fprintf(f, "%s\n", l->history[i]);
	fclose(f);
}

/* ---- Text ------------------------------------------------------------------------------------ */

static void set_text(struct line_editor *l, const char *text)
{
	size_t n = strlen(text);

	if (n + 1 > l->cap) {
		l->cap = n + 256;
		l->text = realloc(l->text, l->cap);
		if (!l->text)
			abort();
	}
	memcpy(l->text, text, n + 1);
	l->len = l->cursor = n;
}

static void insert(struct line_editor *l, const char *s, size_t n)
{
	if (l->len + n > MAX_LINE)
		return;
	if (l->len + n + 1 > l->cap) {
		l->cap = (l->len + n + 1) * 2;
		l->text = realloc(l->text, l->cap);
		if (!l->text)
			abort();
	}
	memmove(l->text + l->cursor + n, l->text + l->cursor, l->len - l->cursor + 1);
	memcpy(l->text + l->cursor, s, n);
	l->len += n;
	l->cursor += n;
}

static void delete_range(struct line_editor *l, size_t from, size_t to)
{
	memmove(l->text + from, l->text + to, l->len - to + 1);
	l->len -= to - from;
	l->cursor = from;
}

static size_t before(const struct line_editor *l, size_t at)
{
	while (at && ((u8)l->text[--at] & 0xc0) == 0x80)
		;
	return at;
}

static size_t after(const struct line_editor *l, size_t at)
{
	while (at < l->len && ((u8)l->text[++at] & 0xc0) == 0x80)
		;
	return MIN(at, l->len);
}

static size_t word_before(const struct line_editor *l, size_t at)
{
	while (at && l->text[at - 1] == ' ')
		at--;
	while (at && l->text[at - 1] != ' ')
		at--;
	return at;
}

static size_t word_after(const struct line_editor *l, size_t at)
{
	while (at < l->len && l->text[at] == ' ')
		at++;
	while (at < l->len && l->text[at] != ' ')
		at++;
	return at;
}

static void show_history(struct line_editor *l, int step)
{
	unsigned to = l->at + (unsigned)step;

	if ((step < 0 && !l->at) || to > l->nr_history)
		return;
	if (l->at == l->nr_history) {
		free(l->unfinished);
		l->unfinished = strdup(l->text);
	}
	l->at = to;
	set_text(l, to == l->nr_history ? l->unfinished : l->history[to]);
}

/* ---- Drawing ------------------------------------------------------------------------------------ */

static unsigned columns(const struct line_editor *l)
{
	struct winsize w;

	return ioctl(l->out, TIOCGWINSZ, &w) || w.ws_col < 10 ? 80 : w.ws_col;
}

static void put(const struct line_editor *l, const char *s, size_t n)
{
	while (n) {
		ssize_t r = write(l->out, s, n);

		if (r < 0 && errno != EINTR)
			return;
		if (r > 0) {
			s += r;
			n -= (size_t)r;
		}
	}
}

static unsigned width_of(const struct line_editor *l, size_t from, size_t to)
{
	char *part = strndup(l->text + from, to - from);
	unsigned w = text_width(part);

	free(part);
	return w;
}

static void draw(const struct line_editor *l)
{
	unsigned room = columns(l) - text_width(l->prompt) - 1, back;
	size_t from = 0, n, len;
	char *all = NULL, *shown;
	FILE *f = open_memstream(&all, &len);

	while (width_of(l, from, l->cursor) > room)
		from = after(l, from);
	n = text_fit(l->text + from, room);
	shown = strndup(l->text + from, n);
	for (char *s = shown; *s; s++)
		*s = (u8)*s < 0x20 ? ' ' : *s;
	fprintf(f, "\r%s%s\033[K", l->prompt, shown);
	back = width_of(l, l->cursor, MAX(from + n, l->cursor));
	if (back)
		fprintf(f, "\033[%uD", back);
	fclose(f);
	put(l, all, len);
	free(shown);
	free(all);
}

/* ---- Completion ------------------------------------------------------------------------------------ */

/* The bytes that all candidates begin with, whatever their case. */
static size_t common_length(json_t *words)
{
	const char *first = json_string_value(json_array_get(words, 0));
	size_t n = strlen(first), i;
	json_t *w;

	json_array_foreach(words, i, w) while (n && text_casencmp(first, json_string_value(w), n))
		n--;
	while (n && ((u8)first[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void list_candidates(struct line_editor *l, json_t *words)
{
	unsigned width = 1, across, column = 0;
	json_t *w;
	size_t i;

	json_array_foreach(words, i, w) width = MAX(width, text_width(json_string_value(w)) + 2);
	across = MAX(1u, columns(l) / width);
	put(l, "\r\n", 2);
	json_array_foreach(words, i, w)
	{
		const char *s = json_string_value(w);
		char *safe = text_printable(s);

		if (i == MAX_SHOWN)
			break;
		put(l, safe, strlen(safe));
		for (unsigned pad = text_width(safe); pad < width && column + 1 < across; pad++)
			put(l, " ", 1);
		free(safe);
		if (++column == across) {
			put(l, "\r\n", 2);
			column = 0;
		}
	}
	if (column)
		put(l, "\r\n", 2);
}

static void complete(struct line_editor *l)
{
	char *line = strndup(l->text, l->cursor);
	size_t start = 0, n;
	json_t *words = l->complete ? l->complete(l->opaque, line, &start) : json_array();
	size_t nr = json_array_size(words);
	const char *first = json_string_value(json_array_get(words, 0));

	if (nr) {
		n = common_length(words);
		if (nr == 1 || n > l->cursor - start) {
			delete_range(l, start, l->cursor);
			insert(l, first, nr == 1 ? strlen(first) : n);
			if (nr == 1 && first[strlen(first) - 1] != '/')
				insert(l, " ", 1);
		} else {
			list_candidates(l, words);
		}
	}
	json_decref(words);
	free(line);
}

/* ---- Keys ------------------------------------------------------------------------------------------- */

static int read_byte(struct line_editor *l)
{
	u8 b = (u8)l->pending;
	ssize_t n;

	l->pending = 0;
	if (b)
		return b;
	do {
		n = read(l->in, &b, 1);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? b : -1;
}

static int read_byte_soon(struct line_editor *l)
{
	struct pollfd p = { l->in, POLLIN, 0 };

	return poll(&p, 1, 50) > 0 ? read_byte(l) : -1;
}

/* ESC [ ... and ESC O ...: the arrows and their neighbours. */
static void escape_key(struct line_editor *l)
{
	int a = read_byte_soon(l), b, arg = 0;

	if (a == 'b' || a == 'f') {
		l->cursor = a == 'b' ? word_before(l, l->cursor) : word_after(l, l->cursor);
		return;
	}
	if (a == 'd')
		delete_range(l, l->cursor, word_after(l, l->cursor));
	if (a != '[' && a != 'O')
		return;
	for (b = read_byte_soon(l); b >= '0' && b <= ';'; b = read_byte_soon(l))
		arg = b == ';' ? arg : b - '0';
	switch (b) {
	case 'A':
		show_history(l, -1);
		break;
	case 'B':
		show_history(l, 1);
		break;
	case 'C':
		l->cursor = arg == 5 ? word_after(l, l->cursor) : after(l, l->cursor);
		break;
	case 'D':
		l->cursor = arg == 5 ? word_before(l, l->cursor) : before(l, l->cursor);
		break;
	case 'H':
		l->cursor = 0;
		break;
	case 'F':
		l->cursor = l->len;
		break;
	case '~':
		if (arg == 1 || arg == 7)
			l->cursor = 0;
		else if (arg == 4 || arg == 8)
			l->cursor = l->len;
		else if (arg == 3)
			delete_range(l, l->cursor, after(l, l->cursor));
		break;
	default:
		break;
	}
}

enum key { KEY_GO_ON, KEY_DONE, KEY_CANCEL, KEY_END };

/* The rest of a character that begins with @b. */
static void insert_character(struct line_editor *l, int b)
{
	char bytes[4] = { (char)b };
	unsigned n = 1, want = b < 0x80	   ? 1
			       : b >= 0xf5 ? 0
			       : b >= 0xf0 ? 4
			       : b >= 0xe0 ? 3
			       : b >= 0xc0 ? 2
					   : 0;
	size_t bad;

	for (; n < want; n++) {
		int next = read_byte_soon(l);

		if ((next & 0xc0) != 0x80 || next < 0) {
			l->pending = next < 0 ? 0 : next;
			return;
		}
		bytes[n] = (char)next;
	}
	if (want && utf8_valid(bytes, want, &bad))
		insert(l, bytes, want);
}

#define CONTROL(c) ((c)&31)

static enum key handle_key(struct line_editor *l, int b)
{
	switch (b) {
	case -1:
		return KEY_END;
	case '\r':
	case '\n':
		return KEY_DONE;
	case CONTROL('c'):
		return KEY_CANCEL;
	case CONTROL('d'):
		if (!l->len)
			return KEY_END;
		delete_range(l, l->cursor, after(l, l->cursor));
		break;
	case CONTROL('a'):
		l->cursor = 0;
		break;
	case CONTROL('e'):
		l->cursor = l->len;
		break;
	case CONTROL('b'):
		l->cursor = before(l, l->cursor);
		break;
	case CONTROL('f'):
		l->cursor = after(l, l->cursor);
		break;
	case CONTROL('p'):
		show_history(l, -1);
		break;
	case CONTROL('n'):
		show_history(l, 1);
		break;
	case CONTROL('k'):
		delete_range(l, l->cursor, l->len);
		break;
	case CONTROL('u'):
		delete_range(l, 0, l->cursor);
		break;
	case CONTROL('w'):
		delete_range(l, word_before(l, l->cursor), l->cursor);
		break;
	case CONTROL('l'):
		put(l, "\033[H\033[2J", 7);
		break;
	case CONTROL('h'):
	case 127:
		delete_range(l, before(l, l->cursor), l->cursor);
		break;
	case '\t':
		complete(l);
		break;
	case 27:
		escape_key(l);
		break;
	default:
		if (b >= 32)
			insert_character(l, b);
	}
	return KEY_GO_ON;
}

enum line_result line_read(struct line_editor *l, const char *prompt, char **text)
{
	struct termios before_, raw;
	bool tty = !tcgetattr(l->in, &before_);
	enum key key;

	*text = NULL;
	if (tty) {
		raw = before_;
		raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
		raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		tcsetattr(l->in, TCSADRAIN, &raw);
	}
	l->prompt = prompt;
	l->at = l->nr_history;
	set_text(l, "");
	do {
		draw(l);
		key = handle_key(l, read_byte(l));
	} while (key == KEY_GO_ON);
	l->cursor = l->len;
	draw(l);
	put(l, key == KEY_CANCEL ? "^C\r\n" : "\r\n", key == KEY_CANCEL ? 4 : 2);
	if (tty)
		tcsetattr(l->in, TCSADRAIN, &before_);
	if (key == KEY_DONE)
		*text = strdup(l->text);
	return key == KEY_DONE ? LINE_DONE : key == KEY_CANCEL ? LINE_CANCELLED : LINE_END;
}
