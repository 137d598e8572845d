/* SPDX-License-Identifier: MIT */
/*
 * A stream of characters to the host (terminal, file, pty), as a serial port
 * or a console sees it.
 *
 * The device calls write() from any thread, its own lock held: the back end
 * takes everything, at once (it buffers, or drops what nobody reads), and never
 * calls back into the device from there. Input goes the other way by the
 * device's own function (uart_receive()), called on the loop's thread, which
 * says how much it took; rx_ready() tells that it can take more. rx_ready() is
 * called under the device's lock too, so it only posts work to the loop.
 */
#ifndef NESTOR_BASE_CHARDEV_H
#define NESTOR_BASE_CHARDEV_H

#include "base/types.h"

struct chardev {
	void (*write)(void *opaque, const void *data, size_t size);
	void (*rx_ready)(void *opaque); /* may be NULL */
	void *opaque;
};

#endif
