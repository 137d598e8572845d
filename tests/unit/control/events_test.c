// SPDX-License-Identifier: MIT
#include "control/events.h"

#include "../../lib/test.h"
#include "control/rules.h"

TEST(events, each_listener_reads_at_his_own_speed)
{
	struct events *ev;

	CHECK_EQ(events_create(&ev), 0);
	CHECK(!events_next(ev, 0, 1));
	for (int i = 0; i < 3; i++)
		events_post(ev, json_pack("{s:i}", "n", i));
	for (u64 seq = 0; seq < 3; seq++) {
		json_t *j = events_next(ev, seq, 0);

		CHECK_EQ(config_int(j, "n"), seq);
		CHECK_EQ(config_int(j, "seq"), seq + 1);
		json_decref(j);
	}
	CHECK(!events_next(ev, events_last(ev), 1));
	events_destroy(ev);
}

TEST(events, who_is_too_slow_loses_the_oldest)
{
	struct events *ev;

	CHECK_EQ(events_create(&ev), 0);
	for (int i = 0; i < 1000; i++)
		events_post(ev, json_pack("{s:i}", "n", i));
	json_t *j = events_next(ev, 0, 0);
	CHECK_EQ(config_int(j, "n"), 1000 - 512);
	json_decref(j);
	events_close(ev);
	CHECK(!events_next(ev, 0, 10000)); /* at once */
	events_destroy(ev);
}
