// SPDX-License-Identifier: MIT
/*
 * Raw disk images: files and block devices, byte for byte. Reads and writes go
 * through the host's page cache; a flush is an fdatasync().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/blockdev.h"

enum { ZERO_CHUNK = 64 << 10, IOV_AT_ONCE = 1024 };

struct raw {
	struct blockdev dev;
	int fd;
	bool is_block;
};

static struct raw *to_raw(struct blockdev *d)
{
	return container_of(d, struct raw, dev);
}

/* --- requests --- */

typedef ssize_t transfer_fn(int fd, const struct iovec *iov, int nr, off_t offset);

/* Drops @n bytes that are done from the front. */
static void advance(struct iovec **iov, unsigned *nr, size_t n)
{
	while (*nr && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*nr)--;
	}
	if (n) {
		(*iov)->iov_base = (u8 *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

static int transfer(transfer_fn *fn, int fd, struct iovec *iov, unsigned nr, u64 offset)
{
	while (nr) {
		ssize_t n = fn(fd, iov, (int)MIN(nr, IOV_AT_ONCE), (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO; /* 0: somebody truncated the file */
		offset += (u64)n;
		advance(&iov, &nr, (size_t)n);
	}
	return 0;
}

static int raw_read(struct blockdev *d, struct iovec *iov, unsigned nr, u64 offset)
{
	return transfer(preadv, to_raw(d)->fd, iov, nr, offset);
}

static int raw_write(struct blockdev *d, struct iovec *iov, unsigned nr, u64 offset)
{
	return transfer(pwritev, to_raw(d)->fd, iov, nr, offset);
}

static int raw_flush(struct blockdev *d)
{
	return fdatasync(to_raw(d)->fd) ? -errno : 0;
}

static int punch(struct raw *raw, int mode, unsigned long block_ioctl, u64 offset, u64 size)
{
	u64 range[2] = { offset, size };
	int r = raw->is_block ? ioctl(raw->fd, block_ioctl, range) :
				fallocate(raw->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset,
					  (off_t)size);

	return r ? -errno : 0;
}

static bool unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOTTY || r == -ENOSYS || r == -EINVAL;
}

/* A hint: a host that cannot do it has done enough. */
static int raw_discard(struct blockdev *d, u64 offset, u64 size)
{
	int r = size ? punch(to_raw(d), FALLOC_FL_PUNCH_HOLE, BLKDISCARD, offset, size) : 0;

	return unsupported(r) ? 0 : r;
}

static int write_zeros(struct blockdev *d, u64 offset, u64 size)
{
	u8 *zeros = calloc(1, ZERO_CHUNK);
	int r = zeros ? 0 : -ENOMEM;

	while (!r && size) {
		struct iovec iov = { zeros, MIN(size, (u64)ZERO_CHUNK) };
		u64 n = iov.iov_len;

		r = raw_write(d, &iov, 1, offset);
		offset += n;
		size -= n;
	}
	free(zeros);
	return r;
}

static int raw_zero(struct blockdev *d, u64 offset, u64 size, bool may_unmap)
{
	int mode = may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	int r = size ? punch(to_raw(d), mode, BLKZEROOUT, offset, size) : 0;

	return unsupported(r) ? write_zeros(d, offset, size) : r;
}

static void raw_close(struct blockdev *d)
{
	struct raw *raw = to_raw(d);

	if (raw->fd >= 0)
		close(raw->fd);
	blockdev_fini(d);
	free(raw);
}

static const struct blockdev_ops raw_ops = {
	.read = raw_read,
	.write = raw_write,
	.flush = raw_flush,
	.discard = raw_discard,
	.zero = raw_zero,
	.close = raw_close,
};

/* --- opening --- */

/* An OFD lock over the whole file: it also keeps this process from opening an
 * image twice. File systems without locks get a warning. */
static int lock_file(const struct raw *raw, struct err *e)
{
	struct flock fl = {
		.l_type = raw->dev.readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};

	if (!fcntl(raw->fd, F_OFD_SETLK, &fl))
		return 0;
	if (errno != EAGAIN && errno != EACCES) {
		log_warn("cannot lock disk %s against other writers: %s", raw->dev.path,
			 strerror(errno));
		return 0;
	}
	if (raw->dev.readonly)
		return err_set(e, "cannot open disk %s: it is open for writing elsewhere, by "
			       "another VM or another --disk of this one", raw->dev.path);
	return err_set(e, "cannot open disk %s for writing: it is in use elsewhere, by another VM "
		       "or another --disk of this one; add ,readonly in every place or use a copy",
		       raw->dev.path);
}

static int find_size(struct raw *raw, const struct stat *st, struct err *e)
{
	u64 size = (u64)st->st_size;

	if (raw->is_block && ioctl(raw->fd, BLKGETSIZE64, &size))
		return err_set(e, "cannot open disk %s: its size is unknown: %s", raw->dev.path,
			       strerror(errno));
	raw->dev.size = ALIGN_DOWN(size, (u64)BLOCK_SECTOR);
	if (!raw->dev.size)
		return err_set(e, "cannot open disk %s: it has no whole sector of %d bytes",
			       raw->dev.path, BLOCK_SECTOR);
	if (raw->dev.size != size)
		log_warn("disk %s does not end at a sector of %d bytes: the guest does not see "
			 "its last %llu bytes", raw->dev.path, BLOCK_SECTOR,
			 (unsigned long long)(size - raw->dev.size));
	return 0;
}

/* Mode bits hold for root, too: who took them away did not want writes. */
static int check_kind(struct raw *raw, const struct stat *st, struct err *e)
{
	raw->is_block = S_ISBLK(st->st_mode);
	if (S_ISDIR(st->st_mode))
		return err_set(e, "cannot open disk %s: it is a directory", raw->dev.path);
	if (!S_ISREG(st->st_mode) && !raw->is_block)
		return err_set(e, "cannot open disk %s: it is neither a file nor a block device",
			       raw->dev.path);
	if (!raw->dev.readonly && !(st->st_mode & 0222))
		return err_set(e, "cannot open disk %s for writing: the file is read-only; add "
			       ",readonly or change its mode", raw->dev.path);
	return 0;
}

static int open_file(struct raw *raw, struct err *e)
{
	bool ro = raw->dev.readonly;
	struct stat st;

	if (stat(raw->dev.path, &st))
		return err_set(e, "cannot open disk %s: %s", raw->dev.path, strerror(errno));
	if (check_kind(raw, &st, e))
		return -1;
	raw->fd = open(raw->dev.path, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (raw->fd < 0 && !ro && (errno == EACCES || errno == EROFS || errno == EPERM))
		return err_set(e, "cannot open disk %s for writing: %s; add ,readonly if reading is "
			       "enough", raw->dev.path, strerror(errno));
	if (raw->fd < 0 || fstat(raw->fd, &st))
		return err_set(e, "cannot open disk %s: %s", raw->dev.path, strerror(errno));
	if (check_kind(raw, &st, e) || lock_file(raw, e))
		return -1;
	return find_size(raw, &st, e);
}

int raw_open(const char *path, bool readonly, struct blockdev **res, struct err *e)
{
	struct raw *raw = calloc(1, sizeof(*raw));

	if (!raw || blockdev_init(&raw->dev, &raw_ops, path)) {
		free(raw);
		return err_set(e, "cannot open disk %s: not enough memory on the host", path);
	}
	raw->fd = -1;
	raw->dev.readonly = readonly;
	if (open_file(raw, e)) {
		raw_close(&raw->dev);
		return -1;
	}
	*res = &raw->dev;
	return 0;
}
