// SPDX-License-Identifier: MIT
/*
 * Runs a fuzz target without libFuzzer: replays files, or mutates the target's
 * seeds for a time. The input at work is kept in a file that outlives a crash.
 *
 *	WHAT [-t SECONDS] [-s SEED] [FILE...]
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_MUTATIONS = 12, HANG_SECONDS = 20, KEPT = 64 };

struct input {
	uint32_t size;
	uint8_t data[FUZZ_MAX];
};

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint64_t interesting(uint64_t *s)
{
	static const uint64_t values[] = { 0, 1, 2, 4, 7, 8, 16, 64, 127, 128, 255, 256, 511, 512,
					   4095, 4096, 32767, 32768, 65535, 65536, 0x100000, 0x7fffffff,
					   0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
					   0x8000000000000000, 0xffffffffffffffff };
	uint64_t v = values[next_random(s) % (sizeof(values) / sizeof(values[0]))];

	return next_random(s) & 1 ? v : v + next_random(s) % 9 - 4;
}

static void mutate(struct input *in, uint64_t *s)
{
	uint32_t at = in->size ? (uint32_t)(next_random(s) % in->size) : 0;
	uint32_t other = in->size ? (uint32_t)(next_random(s) % in->size) : 0;
	uint32_t n = (uint32_t)(next_random(s) % 64);
	unsigned size = 1u << (next_random(s) % 4);
	uint64_t v = next_random(s) & 1 ? interesting(s) : next_random(s);

	switch (next_random(s) % 8) {
	case 0: /* one bit */
		in->data[at] ^= (uint8_t)(1u << (next_random(s) % 8));
		break;
	case 1: /* cut */
		in->size = next_random(s) % 8 ? in->size : at;
		break;
	case 2: /* grow by what may be there */
		if (in->size + n <= FUZZ_MAX)
			in->size += n;
		break;
	case 3: /* copy a piece */
		if (at + n <= in->size && other + n <= in->size)
			memmove(in->data + at, in->data + other, n);
		break;
	default: /* a value, aligned most of the time */
		at &= next_random(s) % 4 ? ~(size - 1) : ~0u;
		if (at + size <= FUZZ_MAX)
			memcpy(in->data + at, &v, size);
	}
}

static void run(struct input *in)
{
	alarm(HANG_SECONDS);
	LLVMFuzzerTestOneInput(in->data, in->size);
	alarm(0);
}

/* The input in a shared file, so that it is there after a crash. */
static struct input *shared_input(const char *argv0)
{
	struct input *in;
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s.input", argv0);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || ftruncate(fd, sizeof(*in))) {
		fprintf(stderr, "cannot create %s: %s\n", path, strerror(errno));
		exit(1);
	}
	in = mmap(NULL, sizeof(*in), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return in == MAP_FAILED ? exit(1), NULL : in;
}

static void pick_seed(struct input *in, unsigned nr_seeds, uint64_t *s)
{
	memset(in->data, 0, sizeof(in->data));
	in->size = (uint32_t)fuzz_seed((unsigned)(next_random(s) % nr_seeds), in->data);
}

static unsigned long fuzz(struct input *in, unsigned seconds, uint64_t seed)
{
	uint64_t s = seed * 0x9e3779b97f4a7c15 + 1;
	time_t end = time(NULL) + seconds;
	unsigned nr_seeds = 0;
	unsigned long n = 0;

	while (fuzz_seed(nr_seeds, in->data))
		nr_seeds++;
	for (; time(NULL) < end; n++) {
		pick_seed(in, nr_seeds, &s);
		for (uint64_t i = n < nr_seeds ? 0 : 1 + next_random(&s) % MAX_MUTATIONS; i; i--)
			mutate(in, &s);
		run(in);
	}
	return n;
}

/* A plain input, or the file that a crash left (size first). */
static void replay(struct input *in, const char *path)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(in->data, 1, FUZZ_MAX, f) : 0;
	size_t len = strlen(path);

	if (!f) {
		fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
		exit(1);
	}
	fclose(f);
	in->size = (uint32_t)n;
	if (len > 6 && !strcmp(path + len - 6, ".input")) {
		memcpy(&in->size, in->data, 4);
		memmove(in->data, in->data + 4, n - 4);
	}
	run(in);
}

int main(int argc, char **argv)
{
	unsigned seconds = 10;
	uint64_t seed = (uint64_t)time(NULL);
	struct input *in;
	int opt;

	while ((opt = getopt(argc, argv, "t:s:")) != -1) {
		if (opt == 't')
			seconds = (unsigned)atoi(optarg);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	if (optind < argc) {
		in = calloc(1, sizeof(*in));
		for (int i = optind; i < argc && in; i++)
			replay(in, argv[i]);
		free(in);
		return 0;
	}
	printf("seed %llu; an input that crashes stays in %s.input\n", (unsigned long long)seed,
	       argv[0]);
	fflush(stdout);
	in = shared_input(argv[0]);
	printf("%lu inputs\n", fuzz(in, seconds, seed));
	return 0;
}
