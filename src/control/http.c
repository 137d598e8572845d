// SPDX-License-Identifier: MIT
/* HTTP messages: http_parser's callbacks fill a struct http_msg. */
#include "control/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct parse {
	struct http_msg *m;
	bool head_only, complete;
	int err;
	char field[24], value[24];
	bool in_value;
};

/* ---- The parser's callbacks ---- */

static int append(char *to, size_t size, const char *data, size_t len)
{
	size_t n = strlen(to);

	if (n + len >= size)
		return -1;
	memcpy(to + n, data, len);
	to[n + len] = 0;
	return 0;
}

static int on_url(http_parser *p, const char *data, size_t len)
{
	struct parse *s = p->data;

	if (memchr(data, 0, len) || append(s->m->target, HTTP_TARGET_MAX, data, len))
		s->err = -EMSGSIZE;
	return s->err;
}

static void header_done(struct parse *s)
{
	if (!strcasecmp(s->field, "Nestor-From"))
		s->m->from = strtoull(s->value, NULL, 10);
	s->field[0] = s->value[0] = 0;
	s->in_value = false;
}

static int on_field(http_parser *p, const char *data, size_t len)
{
	struct parse *s = p->data;

	if (s->in_value)
		header_done(s);
	append(s->field, sizeof(s->field), data, len);
	return 0;
}

static int on_value(http_parser *p, const char *data, size_t len)
{
	struct parse *s = p->data;

	s->in_value = true;
	append(s->value, sizeof(s->value), data, len);
	return 0;
}

static int on_headers_complete(http_parser *p)
{
	struct parse *s = p->data;

	header_done(s);
	if (p->type == HTTP_REQUEST)
		snprintf(s->m->method, sizeof(s->m->method), "%s",
			 http_method_str((enum http_method)p->method));
	else
		s->m->status = p->status_code;
	s->m->upgrade = p->upgrade;
	s->m->keep_alive = http_should_keep_alive(p);
	return s->head_only ? 2 : 0;
}

static int on_body(http_parser *p, const char *data, size_t len)
{
	struct parse *s = p->data;
	struct http_msg *m = s->m;

	if (m->body_len + len > HTTP_BODY_MAX) {
		s->err = -EMSGSIZE;
		return -1;
	}
	char *body = realloc(m->body, m->body_len + len + 1);
	if (!body) {
		s->err = -ENOMEM;
		return -1;
	}
	memcpy(body + m->body_len, data, len);
	m->body = body;
	m->body_len += len;
	m->body[m->body_len] = 0;
	return 0;
}

static int on_complete(http_parser *p)
{
	struct parse *s = p->data;

	s->complete = true;
	http_parser_pause(p, 1); /* the next message has its own turn */
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

/* ---- Reading ---- */

void http_init(struct http_conn *c, int fd, enum http_parser_type type)
{
	c->fd = fd;
	c->type = type;
	c->piece = sizeof(c->buf);
	c->len = 0;
}

void http_free(struct http_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static ssize_t fill(struct http_conn *c)
{
	ssize_t n;

	do
		n = read(c->fd, c->buf + c->len, MIN(sizeof(c->buf) - c->len, c->piece));
	while (n < 0 && errno == EINTR);
	if (n > 0)
		c->len += (size_t)n;
	return n < 0 ? -errno : n;
}

static void consume(struct http_conn *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->len - n);
	c->len -= n;
}

static int parse_some(struct http_conn *c, http_parser *p, struct parse *s)
{
	size_t n = http_parser_execute(p, &settings, c->buf, c->len);
	enum http_errno err = HTTP_PARSER_ERRNO(p);

	consume(c, MIN(n, c->len));
	if (s->complete || s->err)
		return s->err;
	return err == HPE_OK ? 0 : -EBADMSG;
}

int http_read(struct http_conn *c, struct http_msg *m, bool head_only)
{
	struct parse s = { .m = m, .head_only = head_only };
	http_parser p;
	bool begun = false;
	int r = 0;

	memset(m, 0, sizeof(*m));
	http_parser_init(&p, c->type);
	p.data = &s;
	while (!r && !s.complete) {
		if (!c->len) {
			ssize_t n = fill(c);

			if (n <= 0)
				r = n < 0 ? (int)n : begun ? -ECONNRESET : 1;
		}
		begun = begun || c->len;
		if (!r)
			r = parse_some(c, &p, &s);
	}
	if (!r)
		return 1;
	http_msg_free(m);
	return r == 1 ? 0 : r;
}

void http_msg_free(struct http_msg *m)
{
	free(m->body);
	m->body = NULL;
	m->body_len = 0;
}

int http_read_line(struct http_conn *c, char **line)
{
	size_t size = 0;
	char *res = NULL;

	for (;;) {
		char *end = memchr(c->buf, '\n', c->len);
		size_t n = end ? (size_t)(end - c->buf) : c->len;
		char *p = size + n < HTTP_BODY_MAX ? realloc(res, size + n + 1) : NULL;

		if (!p) {
			free(res);
			return -EMSGSIZE;
		}
		res = p;
		memcpy(res + size, c->buf, n);
		size += n;
		res[size] = 0;
		consume(c, end ? n + 1 : n);
		*line = res;
		if (end)
			return 1;
		ssize_t got = fill(c);
		if (got <= 0) {
			free(res);
			return (int)got;
		}
	}
}

/* ---- Writing ---- */

int http_write_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		ssize_t n = send(fd, p, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Head and body in one piece, so that the other end never sees half by chance. */
static int write_message(int fd, const char *head, const json_t *body)
{
	char *text = body ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("");
	char *all = NULL;
	int n = text ? asprintf(&all, "%sContent-Length: %zu\r\n\r\n%s", head, strlen(text), text) : -1;
	int r = n < 0 ? -ENOMEM : http_write_all(fd, all, (size_t)n);

	if (n >= 0)
		free(all);
	free(text);
	return r;
}

int http_write_request(int fd, const char *method, const char *target, const char *extra,
		       const json_t *body)
{
	char head[HTTP_TARGET_MAX + 256];
	int n = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: nestor\r\n%s%s", method, target,
			 body ? "Content-Type: application/json\r\n" : "", extra);

	return n >= (int)sizeof(head) ? -EMSGSIZE : write_message(fd, head, body);
}

int http_write_answer(int fd, unsigned status, const json_t *body)
{
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\n", status,
		 http_status_str((enum http_status)status));
	return write_message(fd, head, body);
}

int http_write_stream_head(int fd)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
				   "Connection: close\r\n\r\n";

	return http_write_all(fd, head, sizeof(head) - 1);
}

int http_write_line(int fd, const json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);
	char *line = NULL;
	int n = text ? asprintf(&line, "%s\n", text) : -1;
	int r = n < 0 ? -ENOMEM : http_write_all(fd, line, (size_t)n);

	if (n >= 0)
		free(line);
	free(text);
	return r;
}

u64 http_query_number(const char *target, const char *key, u64 otherwise)
{
	const char *q = strchr(target, '?');
	size_t len = strlen(key);

	for (; q; q = strchr(q + 1, '&'))
		if (!strncmp(q + 1, key, len) && q[1 + len] == '=')
			return strtoull(q + 2 + len, NULL, 10);
	return otherwise;
}
