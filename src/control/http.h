/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 messages over a connected socket, for both ends. Blocking; one
 * thread per connection. What comes from outside is bounded.
 *
 *	http_init(&c, fd, HTTP_REQUEST);
 *	while (http_read(&c, &m, false) == 1) { ...; http_msg_free(&m); }
 *	http_free(&c);				closes fd
 */
#ifndef NESTOR_CONTROL_HTTP_H
#define NESTOR_CONTROL_HTTP_H

#include <http_parser.h>
#include <jansson.h>

#include "base/types.h"

enum { HTTP_BODY_MAX = 16 << 20, HTTP_TARGET_MAX = 2048, HTTP_READ_SIZE = 8192 };

struct http_conn {
	int fd;
	enum http_parser_type type;
	size_t piece; /* reads at most so much at once */
	size_t len;   /* bytes read and not yet parsed */
	char buf[HTTP_READ_SIZE];
};

struct http_msg {
	char method[16];
	char target[HTTP_TARGET_MAX]; /* path and query */
	unsigned status;	      /* of an answer */
	bool keep_alive;
	bool upgrade;
	u64 from; /* header Nestor-From */
	char *body; /* NUL-terminated */
	size_t body_len;
};

void http_init(struct http_conn *c, int fd, enum http_parser_type type);
void http_free(struct http_conn *c);

/* 1: a message; 0: the other end has closed; -errno. With @head_only it
 * stops after the headers, and http_read_line() reads what follows. */
int http_read(struct http_conn *c, struct http_msg *m, bool head_only);
void http_msg_free(struct http_msg *m);
/* A line without its end, from a stream, to free(); the same results. */
int http_read_line(struct http_conn *c, char **line);

int http_write_all(int fd, const void *data, size_t size);
/* @extra: further header lines, each with its line end, or "". */
int http_write_request(int fd, const char *method, const char *target, const char *extra,
		       const json_t *body);
int http_write_answer(int fd, unsigned status, const json_t *body);
/* The head of an answer that goes on until the connection is closed. */
int http_write_stream_head(int fd);
int http_write_line(int fd, const json_t *j);

/* The value of @key in the target's query, or @otherwise. */
u64 http_query_number(const char *target, const char *key, u64 otherwise);

#endif
