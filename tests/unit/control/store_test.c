// SPDX-License-Identifier: MIT
#include "control/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "control/api.h"
#include "control/file.h"
#include "control/rules.h"

static char folder[64];

static void remove_folder(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	CHECK_EQ(system(command), 0);
}

static void open_new(struct store *s)
{
	struct ctl_err e = { 0 };

	strcpy(folder, "/tmp/nestor-store-XXXXXX");
	CHECK(mkdtemp(folder));
	CHECK_EQ(store_open(s, folder, &e), 0);
}

static json_t *config(const char *id, const char *name)
{
	json_t *j = json_pack("{s:s, s:s, s:s}", "id", id, "name", name, "version", "9.0");

	api_fill_defaults(&api_vm, j);
	return j;
}

static unsigned seen;
static char last_seen[STORE_ID_SIZE];

static void see(void *opaque, const char *id)
{
	(void)opaque;
	seen++;
	memcpy(last_seen, id, STORE_ID_SIZE);
}

static unsigned scan(struct store *s)
{
	seen = 0;
	store_scan(s, see, NULL);
	return seen;
}

TEST(store, what_was_written_is_read)
{
	struct store s;
	struct ctl_err e = { 0 };
	char id[STORE_ID_SIZE];
	int dir;

	open_new(&s);
	store_new_id(id);
	CHECK(store_id_valid(id));
	json_t *j = config(id, "a \"b\" \xc3\xa4"), *back;
	CHECK_EQ(store_create_vm(&s, id, j, &dir, &e), 0);
	CHECK_EQ(store_read_config(dir, id, &back, &e), 0);
	CHECK(json_equal(j, back));
	CHECK_EQ(scan(&s), 1);
	CHECK_STR(last_seen, id);
	CHECK_EQ(store_remove_vm(&s, id, &e), 0);
	CHECK_EQ(scan(&s), 0);
	json_decref(j);
	json_decref(back);
	close(dir);
	store_close(&s);
	remove_folder();
}

TEST(store, only_one_has_it)
{
	struct store s, other;
	struct ctl_err e = { 0 };

	open_new(&s);
	CHECK_EQ(store_open(&other, folder, &e), -1);
	CHECK(other.was_locked);
	store_close(&other);
	store_close(&s);
	CHECK_EQ(store_open(&other, folder, &e), 0);
	store_close(&other);
	remove_folder();
}

TEST(store, what_was_half_done_is_cleaned_away)
{
	struct store s;
	struct stat st;

	open_new(&s);
	CHECK_EQ(mkdirat(s.vms, ".new-x", 0700), 0);
	CHECK_EQ(mkdirat(s.vms, ".gone-x", 0700), 0);
	CHECK_EQ(close(openat(s.vms, ".gone-x/disk.img", O_CREAT | O_WRONLY, 0600)), 0);
	CHECK_EQ(scan(&s), 0);
	CHECK(fstatat(s.vms, ".new-x", &st, 0));
	CHECK(fstatat(s.vms, ".gone-x", &st, 0));
	CHECK_EQ(fstatat(s.dir, "left-gone-x/disk.img", &st, 0), 0); /* not ours to delete */
	store_close(&s);
	remove_folder();
}

TEST(store, a_broken_configuration_says_where)
{
	static const char *const bad[] = { "{", "[]", "{\"id\":\"x\"}", "{\"name\":7}", "",
					   "{\"id\":\"00000000-0000-4000-8000-000000000000\",\"nme\":\"x\"}" };
	static const char id[] = "00000000-0000-4000-8000-000000000000";
	struct ctl_err e = { 0 };
	struct store s;
	json_t *j;

	open_new(&s);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(file_replace(s.dir, "config.json", bad[i], strlen(bad[i]), &e), 0);
		e.text[0] = 0;
		CHECK_EQ(store_read_config(s.dir, id, &j, &e), -1);
		CHECK(e.text[0]);
	}
	store_close(&s);
	remove_folder();
}

TEST(store, a_full_disk_changes_nothing)
{
	struct ctl_err e = { 0 };
	struct store s;
	char *text;
	size_t size;

	if (access("/dev/full", W_OK))
		SKIP("no /dev/full");
	open_new(&s);
	CHECK_EQ(file_replace(s.dir, "f", "old", 3, &e), 0);
	/* O_NOFOLLOW refuses this link: the write fails, whatever the reason. */
	CHECK_EQ(symlinkat("/dev/full", s.dir, "f.new"), 0);
	CHECK_EQ(file_replace(s.dir, "f", "new", 3, &e), -1);
	CHECK_EQ(file_read(s.dir, "f", 100, &text, &size), 0);
	CHECK_STR(text, "old");
	free(text);
	store_close(&s);
	remove_folder();
}

TEST(store, the_workers_lock_shows_life)
{
	struct store s;

	open_new(&s);
	CHECK(!store_worker_alive(s.dir));
	int fd = store_lock_worker(s.dir);
	CHECK(fd >= 0);
	CHECK(store_worker_alive(s.dir));
	CHECK_EQ(store_lock_worker(s.dir), -1);
	close(fd);
	CHECK(!store_worker_alive(s.dir));
	store_close(&s);
	remove_folder();
}

TEST(store, logs_are_lines)
{
	struct store s;

	open_new(&s);
	store_log(s.dir, "off", "The guest powered off.");
	store_log(s.dir, "off", "Twice \"quoted\"\n.");
	json_t *a = store_read_log(s.dir);
	CHECK_EQ(json_array_size(a), 2);
	CHECK_STR(config_string(json_array_get(a, 0), "text"), "The guest powered off.");
	json_decref(a);
	store_close(&s);
	remove_folder();
}

TEST(store, ids)
{
	CHECK(!store_id_valid(""));
	CHECK(!store_id_valid("../../../../etc"));
	CHECK(!store_id_valid("00000000-0000-4000-8000-00000000000"));
	CHECK(!store_id_valid("00000000-0000-4000-8000-0000000000000"));
	CHECK(!store_id_valid("00000000-0000-4000-8000-00000000000A"));
}
