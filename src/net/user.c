// SPDX-License-Identifier: MIT
/*
 * NAT in user space: starts the helper nestor-nat (libslirp, which brings
 * GLib) and exchanges frames with it over a socket that keeps message bounds.
 *
 * Theory of operation. The helper's first message says whether its ports could
 * be bound: "ok", or a sentence. After that each message is one frame. Frames
 * from the helper are read in batches; what the card cannot take waits here,
 * with the socket not polled, so that the helper feels it and slows down. The
 * helper ends when the socket is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/hostfwd.h"
#include "net/netdev.h"

enum { BATCH = 32, BUFFER = 2048, START_TIMEOUT_MS = 10000, SOCKET_BUFFER = 1 << 20 };
enum { HELPER_FD = 3, END_POLLS = 100, END_POLL_NS = 10000000 };

struct user {
	struct netdev dev;
	struct loop *loop;
	int fd;
	pid_t pid;
	bool tx_blocked; /* the card waits for tx_ready() */
	bool registered; /* fd is in the loop */
	/* Frames read and not yet taken. */
	unsigned first, nr;
	struct iovec frames[BATCH];
	u8 buffers[BATCH][BUFFER];
	struct loop_work rx_work; /* takes up receiving again */
};

static struct user *to_user(struct netdev *d)
{
	return container_of(d, struct user, dev);
}

/* --- frames --- */

static void update_events(struct user *u)
{
	u32 events = (u->nr ? 0 : EPOLLIN) | (u->tx_blocked ? EPOLLOUT : 0);

	if (u->registered)
		loop_mod_fd(u->loop, u->fd, events);
}

/* The helper died: the cable is cut, the VM goes on. */
static void lost(struct user *u)
{
	log_warn("the network helper nestor-nat has ended: the VM has no network any more");
	loop_del_fd(u->loop, u->fd);
	u->registered = false;
	if (u->tx_blocked && u->dev.client.tx_ready)
		u->dev.client.tx_ready(u->dev.client.opaque);
	u->tx_blocked = false;
}

static bool user_send(struct netdev *d, const struct iovec *iov, unsigned nr_iov)
{
	struct user *u = to_user(d);
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = nr_iov };

	if (!u->registered)
		return true;
	if (sendmsg(u->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN)
		return true; /* an error is a lost frame, like on any cable */
	u->tx_blocked = true;
	update_events(u);
	return false;
}

static void deliver(struct user *u)
{
	unsigned n = u->nr;

	if (n && u->dev.client.receive)
		n = u->dev.client.receive(u->dev.client.opaque, &u->frames[u->first], u->nr);
	u->first += n;
	u->nr -= n;
}

/* False when the other end is gone. */
static bool read_batch(struct user *u)
{
	struct mmsghdr m[BATCH];
	int n;

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < BATCH; i++) {
		u->frames[i] = (struct iovec){ u->buffers[i], BUFFER };
		m[i].msg_hdr.msg_iov = &u->frames[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(u->fd, m, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	u->first = 0;
	u->nr = (unsigned)n;
	for (int i = 0; i < n; i++) {
		u->frames[i].iov_len = m[i].msg_len;
		if (!m[i].msg_len)
			return false;
	}
	return true;
}

static void on_socket(void *arg, u32 events)
{
	struct user *u = arg;
	bool hung_up = events & (EPOLLHUP | EPOLLERR);

	if (((events & EPOLLIN) || hung_up) && !u->nr) {
		hung_up = !read_batch(u);
		u->nr = hung_up ? 0 : u->nr;
		deliver(u);
	}
	if (hung_up) {
		lost(u);
		return;
	}
	if ((events & EPOLLOUT) && u->tx_blocked) {
		u->tx_blocked = false;
		if (u->dev.client.tx_ready)
			u->dev.client.tx_ready(u->dev.client.opaque);
	}
	update_events(u);
}

static void rx_again(void *arg)
{
	struct user *u = arg;
	if (!u->nr)
		return;
	deliver(u);
	update_events(u);
}

static void user_rx_ready(struct netdev *d)
{
	struct user *u = to_user(d);

	if (u->nr)
		loop_post(u->loop, &u->rx_work);
}

/* --- the helper process --- */

static int helper_path(char *path, size_t size, struct err *e)
{
	static const char name[] = "nestor-nat";
	ssize_t n = readlink("/proc/self/exe", path, size - 1);
	char *slash;

	if (n < 0)
		return err_set(e, "cannot start the network helper: where nestor is installed is "
			       "unknown: %s", strerror(errno));
	path[n] = 0;
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash + 1 - path) + sizeof(name) > size)
		return err_set(e, "cannot start the network helper: its path is too long");
	memcpy(slash + 1, name, sizeof(name));
	if (access(path, X_OK))
		return err_set(e, "cannot start the network helper %s: %s; it is built with nestor "
			       "where libslirp-dev is installed; --nic none does without", path,
			       strerror(errno));
	return 0;
}

/* A process group of its own: the terminal's Ctrl-C is not for the helper. */
static int spawn(const char *path, int fd, const char *const *hostfwd, unsigned nr, pid_t *pid)
{
	char *argv[NET_MAX_HOSTFWD + 2] = { (char *)path };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	int r;

	for (unsigned i = 0; i < nr; i++)
		argv[i + 1] = (char *)hostfwd[i];
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, HELPER_FD);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	r = posix_spawn(pid, path, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

static int wait_for_start(int fd, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[400];
	ssize_t n;

	if (poll(&p, 1, START_TIMEOUT_MS) <= 0)
		return err_set(e, "cannot start the network helper: it did not answer");
	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return err_set(e, "cannot start the network helper: it ended at once");
	text[n] = 0;
	return strcmp(text, "ok") ? err_set(e, "%s", text) : 0;
}

static int make_sockets(int sv[2], struct err *e)
{
	int size = SOCKET_BUFFER;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return err_set(e, "cannot start the network helper: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		int high = fcntl(sv[i], F_DUPFD_CLOEXEC, HELPER_FD + 1);

		setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		if (high >= 0) { /* not HELPER_FD itself: dup2() would keep close-on-exec */
			close(sv[i]);
			sv[i] = high;
		}
	}
	return 0;
}

static int start(struct user *u, const char *const *hostfwd, unsigned nr, struct err *e)
{
	char path[4096];
	int sv[2], r;

	if (helper_path(path, sizeof(path), e) || make_sockets(sv, e))
		return -1;
	u->fd = sv[0];
	r = spawn(path, sv[1], hostfwd, nr, &u->pid);
	close(sv[1]);
	if (r) {
		u->pid = 0;
		return err_set(e, "cannot start the network helper %s: %s", path, strerror(r));
	}
	return wait_for_start(u->fd, e);
}

/* It ends by itself when its socket closes; if it does not, we end it. */
static void end_helper(pid_t pid)
{
	struct timespec pause = { .tv_nsec = END_POLL_NS };

	for (int i = 0; i < END_POLLS; i++) {
		pid_t r = waitpid(pid, NULL, WNOHANG);

		if (r == pid || (r < 0 && errno != EINTR))
			return;
		nanosleep(&pause, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* --- life --- */

static void user_destroy(struct netdev *d)
{
	struct user *u = to_user(d);

	if (u->registered)
		loop_del_fd(u->loop, u->fd);
	if (u->fd >= 0)
		close(u->fd);
	if (u->pid > 0)
		end_helper(u->pid);
	free(u);
}

static const struct netdev_ops user_ops = {
	.send = user_send,
	.rx_ready = user_rx_ready,
	.destroy = user_destroy,
};

static int check(const char *const *hostfwd, unsigned nr, struct err *e)
{
	struct hostfwd fwd;

	if (nr > NET_MAX_HOSTFWD)
		return err_set(e, "cannot forward %u ports: at most %d are possible", nr,
			       NET_MAX_HOSTFWD);
	for (unsigned i = 0; i < nr; i++)
		if (hostfwd_parse(hostfwd[i], &fwd, e))
			return -1;
	return 0;
}

int netdev_user_create(const char *const *hostfwd, unsigned nr_hostfwd, struct loop *loop,
		       struct netdev **res, struct err *e)
{
	struct user *u;

	if (check(hostfwd, nr_hostfwd, e))
		return -1;
	u = calloc(1, sizeof(*u));
	if (!u)
		return err_set(e, "cannot create the network: not enough memory on the host");
	u->dev.ops = &user_ops;
	u->loop = loop;
	u->fd = -1;
	u->rx_work = (struct loop_work){ .fn = rx_again, .arg = u };
	if (start(u, hostfwd, nr_hostfwd, e))
		goto fail;
	if (loop_add_fd(loop, u->fd, EPOLLIN, on_socket, u)) {
		err_set(e, "cannot create the network: the event loop is full");
		goto fail;
	}
	u->registered = true;
	*res = &u->dev;
	return 0;
fail:
	user_destroy(&u->dev);
	return -1;
}
