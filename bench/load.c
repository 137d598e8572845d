// SPDX-License-Identifier: MIT
/*
 * The work that `make bench` times: one static program, the same bytes on the
 * host, in L1 and in L2. It reads lines "NAME COUNT" and does COUNT units of
 * that row's work between two marks on its output, "@b" and "@e CHECKSUM":
 * whoever reads the marks on the host takes the time, so no guest's clock is
 * trusted. Preparation lies before the first mark. Every unit of a row gives
 * the same checksum, on every machine; a wrong one is reported as "@x".
 */
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

struct row {
	const char *name;
	void *(*prepare)(void); /* once, before the first unit; NULL if it cannot run here */
	u64 (*unit)(void *state);
};

static u64 rng(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void *zeroed(size_t size)
{
	void *p = aligned_alloc(4096, (size + 4095) & ~4095UL);

	if (!p) {
		printf("@x out of memory\n");
		exit(1);
	}
	return memset(p, 0, size);
}

static void *nothing_to_prepare(void)
{
	return zeroed(64);
}

/* ---- Integer mix: list, matrix, state machine and CRC, in the manner of CoreMark ---- */

enum { LIST = 60, MATRIX = 12, TEXT = 400 };

struct node {
	struct node *next;
	u16 key, value;
};

struct mix {
	struct node nodes[LIST];
	short a[MATRIX * MATRIX], b[MATRIX * MATRIX];
	char text[TEXT];
};

static void *mix_prepare(void)
{
	static const char *const words[] = { "5012,",	  "-874,",     "+122,",
					     "35.54400,", ".1234500,", "1.5e+3,",
					     "-.123e-2,", "T0.3e-1F,", "1T3.4e4z," };
	struct mix *m = zeroed(sizeof(*m));
	u64 seed = 7;

	for (int i = 0; i < MATRIX * MATRIX; i++) {
		m->a[i] = (short)rng(&seed);
		m->b[i] = (short)rng(&seed);
	}
	for (size_t len = 0;;) {
		const char *w = words[rng(&seed) % 9];

		if (len + strlen(w) >= TEXT)
			return m;
		memcpy(m->text + len, w, strlen(w));
		len += strlen(w);
	}
}

static u32 crc16(u32 crc, u32 data)
{
	for (int i = 0; i < 16; i++) {
		u32 bit = (data ^ crc) & 1;

		data >>= 1;
		crc >>= 1;
		if (bit)
			crc ^= 0xa001;
	}
	return crc;
}

static struct node *list_reverse(struct node *at)
{
	struct node *before = NULL;

	while (at) {
		struct node *next = at->next;

		at->next = before;
		before = at;
		at = next;
	}
	return before;
}

static struct node *list_merge(struct node *a, struct node *b)
{
	struct node head, *tail = &head;

	while (a && b) {
		struct node **from = a->key <= b->key ? &a : &b;

		tail->next = *from;
		tail = *from;
		*from = tail->next;
	}
	tail->next = a ? a : b;
	return head.next;
}

static struct node *list_sort(struct node *list, int len)
{
	struct node *half = list, *second;

	if (len < 2)
		return list;
	for (int i = 1; i < len / 2; i++)
		half = half->next;
	second = half->next;
	half->next = NULL;
	list = list_sort(list, len / 2);
	return list_merge(list, list_sort(second, len - len / 2));
}

static u32 mix_list(struct mix *m, u32 crc)
{
	struct node *list = NULL;
	u64 seed = 99;

	for (int i = 0; i < LIST; i++) {
		m->nodes[i] = (struct node){ list, (u16)rng(&seed), (u16)i };
		list = &m->nodes[i];
	}
	for (u32 key = 0; key < 24; key++) {
		struct node *at = list;

		while (at && (at->key & 0xff) != key * 9)
			at = at->next;
		crc = crc16(crc, at ? at->value : key);
		list = list_reverse(list);
	}
	for (struct node *at = list_sort(list, LIST); at; at = at->next)
		crc = crc16(crc, at->key);
	return crc;
}

static u32 mix_matrix(struct mix *m, u32 crc)
{
	int sum = 0;

	for (int i = 0; i < MATRIX; i++)
		for (int j = 0; j < MATRIX; j++) {
			int dot = 0;

			for (int k = 0; k < MATRIX; k++)
				dot += m->a[i * MATRIX + k] * m->b[k * MATRIX + j];
			sum += (dot >> 2 & 15) * (dot >> 5 & 127);
		}
	return crc16(crc, (u32)sum);
}

enum state { START, SIGN, INTEGER, FRACTION, EXPONENT, SCIENCE, INVALID, NR_STATES };

static enum state next_state(enum state s, char c)
{
	bool digit = c >= '0' && c <= '9';

	switch (s) {
	case START:
		return digit		      ? INTEGER
		       : c == '+' || c == '-' ? SIGN
		       : c == '.'	      ? FRACTION
					      : INVALID;
	case SIGN:
		return digit ? INTEGER : c == '.' ? FRACTION : INVALID;
	case INTEGER:
		return digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : INVALID;
	case FRACTION:
		return digit ? FRACTION : c == 'e' ? EXPONENT : INVALID;
	case EXPONENT:
		return digit || c == '+' || c == '-' ? SCIENCE : INVALID;
	case SCIENCE:
		return digit ? SCIENCE : INVALID;
	default:
		return INVALID;
	}
}

static u32 mix_states(const struct mix *m, u32 crc)
{
	u32 seen[NR_STATES] = { 0 };
	enum state s = START;

	for (const char *c = m->text; *c; c++) {
		if (*c == ',') {
			seen[s]++;
			s = START;
		} else {
			s = next_state(s, *c);
		}
	}
	for (int i = 0; i < NR_STATES; i++)
		crc = crc16(crc, seen[i]);
	return crc;
}

static u64 mix_unit(void *state)
{
	u32 crc = 0;

	for (int i = 0; i < 10; i++)
		crc = mix_states(state, mix_matrix(state, mix_list(state, crc)));
	return crc;
}

/* ---- SHA-256 ---- */

static void *sha_prepare(void)
{
	u8 *text = zeroed(16384);
	u64 seed = 5;

	for (int i = 0; i < 16384; i++)
		text[i] = (u8)rng(&seed);
	return text;
}

static u32 ror(u32 x, int n)
{
	return x >> n | x << (32 - n);
}

/* The first 32 bits of the fractional part of a prime's square or cube root. */
static u32 root_bits(int prime, bool cube)
{
	long double r = cube ? cbrtl(prime) : sqrtl(prime);

	return (u32)((r - floorl(r)) * 4294967296.0L);
}

static void sha_constants(u32 *k, u32 *h)
{
	int nr = 0;

	for (int p = 2; nr < 64; p++) {
		bool prime = true;

		for (int d = 2; d * d <= p; d++)
			prime &= p % d != 0;
		if (!prime)
			continue;
		if (nr < 8)
			h[nr] = root_bits(p, false);
		k[nr++] = root_bits(p, true);
	}
}

static void sha_block(u32 *h, const u32 *k, const u8 *in)
{
	u32 w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], l = h[7];

	for (int i = 0; i < 16; i++) {
		memcpy(&w[i], in + 4 * i, 4);
		w[i] = __builtin_bswap32(w[i]);
	}
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] +
		       (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) +
		       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
	for (int i = 0; i < 64; i++) {
		u32 t1 = l + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + k[i] +
			 w[i];
		u32 t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));

		l = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
	}
	h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += l;
}

static u64 sha_unit(void *state)
{
	static u32 k[64], start[8];
	u32 h[8];

	if (!k[0])
		sha_constants(k, start);
	memcpy(h, start, sizeof(h));
	for (int at = 0; at < 16384; at += 64)
		sha_block(h, k, (u8 *)state + at);
	return (u64)h[0] << 32 | h[7];
}

/* ---- Quicksort, hash table ---- */

enum { SORT = 4096, TABLE = 16384 };

static void quicksort(u32 *v, long lo, long hi)
{
	while (lo < hi) {
		u32 pivot = v[lo + (hi - lo) / 2];
		long i = lo, j = hi;

		while (i <= j) {
			while (v[i] < pivot)
				i++;
			while (v[j] > pivot)
				j--;
			if (i <= j) {
				u32 t = v[i];

				v[i++] = v[j];
				v[j--] = t;
			}
		}
		quicksort(v, lo, j);
		lo = i;
	}
}

static void *sort_prepare(void)
{
	return zeroed(SORT * sizeof(u32));
}

static u64 sort_unit(void *state)
{
	u32 *v = state;
	u64 seed = 1, sum = 0;

	for (int i = 0; i < SORT; i++)
		v[i] = (u32)rng(&seed);
	quicksort(v, 0, SORT - 1);
	for (int i = 0; i < SORT; i += 64)
		sum = sum * 31 + v[i];
	return sum;
}

static void *hash_prepare(void)
{
	return zeroed(TABLE * 2 * sizeof(u64));
}

static u64 *hash_slot(u64 *table, u64 key)
{
	u64 at = key * 0x9e3779b97f4a7c15 >> 50;

	while (table[2 * at] && table[2 * at] != key)
		at = (at + 1) % TABLE;
	return table + 2 * at;
}

static u64 hash_unit(void *state)
{
	u64 seed = 3, sum = 0;

	memset(state, 0, TABLE * 2 * sizeof(u64));
	for (int i = 0; i < TABLE / 2; i++) {
		u64 key = rng(&seed) % TABLE + 1, *slot = hash_slot(state, key);

		slot[0] = key;
		slot[1] += (u64)i;
	}
	seed = 3;
	for (int i = 0; i < TABLE / 2; i++)
		sum = sum * 3 + hash_slot(state, rng(&seed) % TABLE + 1)[1];
	return sum;
}

/* ---- Pointer chase over 4 MiB, indirect calls ---- */

enum { CHASE = 65536, STEPS = 4096 };

struct link {
	struct link *next;
	u64 value, pad[6];
};

struct chase {
	struct link *at;
	struct link links[CHASE];
};

static void *chase_prepare(void)
{
	struct chase *c = zeroed(sizeof(*c));
	u32 *order = zeroed(CHASE * sizeof(*order));
	u64 seed = 11;

	for (u32 i = 0; i < CHASE; i++) {
		u32 j = (u32)(rng(&seed) % (i + 1));

		order[i] = order[j];
		order[j] = i;
	}
	for (u32 i = 0; i < CHASE; i++)
		c->links[order[i]].next = &c->links[order[(i + 1) % CHASE]];
	c->at = c->links;
	free(order);
	return c;
}

static u64 chase_unit(void *state)
{
	struct chase *c = state;
	struct link *at = c->at;

	for (int i = 0; i < STEPS; i++)
		at = at->next;
	c->at = at;
	return 0;
}

static u64 call_add(u64 x)
{
	return x + 0x1234567;
}

static u64 call_xor(u64 x)
{
	return x ^ x >> 7;
}

static u64 call_mul(u64 x)
{
	return x * 0x9e3779b97f4a7c15;
}

static u64 call_rot(u64 x)
{
	return x << 13 | x >> 51;
}

static u64 call_not(u64 x)
{
	return ~x;
}

static u64 call_sub(u64 x)
{
	return x - (x >> 3);
}

static u64 call_swap(u64 x)
{
	return __builtin_bswap64(x);
}

static u64 call_odd(u64 x)
{
	return x * 3 + 1;
}

static u64 indirect_unit(void *state)
{
	static u64 (*volatile const calls[])(u64) = { call_add, call_xor, call_mul,  call_rot,
						      call_not, call_sub, call_swap, call_odd };
	u64 x = 1, seed = 17;

	(void)state;
	for (int i = 0; i < 5000; i++)
		x = calls[rng(&seed) & 7](x);
	return x;
}

/* ---- Calls, an interpreter ---- */

__attribute__((noinline)) static u64 fibonacci(u64 n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static u64 calls_unit(void *state)
{
	static u64 (*volatile const call)(u64) = fibonacci;

	(void)state;
	return call(18);
}

/* Byte code for a machine of two registers and a small stack. */
static u64 interpreter_unit(void *state)
{
	enum { ADD, MIX, PUSH, MUL, PC, POP, ODD, RESET, LENGTH = 16 };
	static const u8 program[LENGTH] = { ADD, MIX, PUSH, MUL, PC, MIX,  POP, PUSH,
					    ODD, ADD, MUL,  MIX, PC, PUSH, POP, RESET };
	u64 a = 1, b = 2, stack[16] = { 0 };
	unsigned top = 0;

	(void)state;
	for (unsigned pc = 0; pc < 10000; pc++) {
		switch (program[pc % LENGTH]) {
		case ADD:
			a += b;
			break;
		case MIX:
			b ^= a >> 3;
			break;
		case PUSH:
			stack[top++ & 15] = a;
			break;
		case MUL:
			a = a * 5 + 1;
			break;
		case PC:
			b += pc;
			break;
		case POP:
			a -= stack[--top & 15];
			break;
		case ODD:
			b += a & 1;
			break;
		default:
			top = 0;
		}
	}
	return a ^ b;
}

/* ---- Floating point ---- */

enum { DIM = 64, BODIES = 5 };

struct dgemm {
	double a[DIM * DIM], b[DIM * DIM], c[DIM * DIM];
};

static void *dgemm_prepare(void)
{
	struct dgemm *d = zeroed(sizeof(*d));

	for (int i = 0; i < DIM * DIM; i++) {
		d->a[i] = i % 13;
		d->b[i] = i % 7;
	}
	return d;
}

#define DGEMM_LOOPS                                                                                \
	for (int i = 0; i < DIM; i++)                                                              \
		for (int k = 0; k < DIM; k++)                                                      \
			for (int j = 0; j < DIM; j++)                                              \
	d->c[i * DIM + j] += d->a[i * DIM + k] * d->b[k * DIM + j]

static u64 dgemm_sum(const struct dgemm *d)
{
	double sum = 0;

	for (int i = 0; i < DIM * DIM; i++)
		sum += d->c[i];
	return (u64)sum;
}

__attribute__((optimize("O3"))) static u64 dgemm_unit(void *state)
{
	struct dgemm *d = state;

	memset(d->c, 0, sizeof(d->c));
	DGEMM_LOOPS;
	return dgemm_sum(d);
}

__attribute__((optimize("O3"), target("avx2,fma"))) static u64 dgemm_avx2_unit(void *state)
{
	struct dgemm *d = state;

	memset(d->c, 0, sizeof(d->c));
	DGEMM_LOOPS;
	return dgemm_sum(d);
}

static void *dgemm_avx2_prepare(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? dgemm_prepare()
									       : NULL;
}

struct body {
	double x[3], v[3], mass;
};

static void bodies_pull(struct body *a, struct body *b)
{
	double d[3], square = 1e-3, f;

	for (int k = 0; k < 3; k++) {
		d[k] = a->x[k] - b->x[k];
		square += d[k] * d[k];
	}
	f = 0.001 / (square * sqrt(square));
	for (int k = 0; k < 3; k++) {
		a->v[k] -= d[k] * b->mass * f;
		b->v[k] += d[k] * a->mass * f;
	}
}

static u64 nbody_unit(void *state)
{
	struct body b[BODIES];
	double energy = 0;
	u64 bits;

	(void)state;
	for (int i = 0; i < BODIES; i++)
		b[i] = (struct body){ { i * 1.5, 2.0 - i, i * i * 0.3 },
				      { 0.1 * i, 0, -0.2 },
				      1 + i };
	for (int step = 0; step < 500; step++) {
		for (int i = 0; i < BODIES; i++)
			for (int j = i + 1; j < BODIES; j++)
				bodies_pull(&b[i], &b[j]);
		for (int i = 0; i < BODIES; i++)
			for (int k = 0; k < 3; k++)
				b[i].x[k] += 0.001 * b[i].v[k];
	}
	for (int i = 0; i < BODIES; i++)
		energy += b[i].mass * (b[i].v[0] * b[i].v[0] + b[i].v[1] * b[i].v[1]);
	memcpy(&bits, &energy, sizeof(bits));
	return bits;
}

/* ---- Memory ---- */

enum { COPY = 4 << 20, TRIAD = 1 << 18 };

static void *copy_prepare(void)
{
	u8 *p = zeroed(2 * COPY);

	memset(p, 0x5a, COPY);
	memset(p + COPY, 1, COPY);
	return p;
}

static u64 copy_unit(void *state)
{
	u8 *p = state;

	memcpy(p + COPY, p, COPY);
	return p[COPY + 4097];
}

static void *triad_prepare(void)
{
	double *v = zeroed(3 * TRIAD * sizeof(double));

	for (int i = 0; i < TRIAD; i++) {
		v[TRIAD + i] = i;
		v[2 * TRIAD + i] = 2;
	}
	return v;
}

static u64 triad_unit(void *state)
{
	double *a = state, *b = a + TRIAD, *c = b + TRIAD;

	for (int i = 0; i < TRIAD; i++)
		a[i] = b[i] + 3 * c[i];
	return (u64)a[77];
}

/* Words that do not lie on their boundaries: one in 8 crosses a cache line, one in 512 a page. */
static u64 unaligned_unit(void *state)
{
	const u8 *p = state;
	u64 sum = 0, word;

	for (int at = 5; at < COPY / 16; at += 8) {
		memcpy(&word, p + at, sizeof(word));
		sum += word;
	}
	return sum;
}

/* Copies of 0 to 199 bytes, wherever they lie. */
static u64 small_unit(void *state)
{
	u8 *p = state;
	u64 seed = 9;

	for (int i = 0; i < 1000; i++) {
		u64 r = rng(&seed);

		memmove(p + COPY + (r >> 20) % 100000, p + (r >> 40) % 100000, r % 200);
	}
	return p[COPY + 5000];
}

/* More than any TLB holds, except in large pages. */
enum { FAR = 64 << 20 };

static void *far_prepare(void)
{
	return zeroed(FAR);
}

static u64 far_unit(void *state)
{
	u64 *p = state, seed = 5, sum = 0;

	for (int i = 0; i < 10000; i++)
		sum += p[rng(&seed) % (FAR / sizeof(*p))];
	return sum;
}

__attribute__((target("avx2"))) static u64 gather_unit(void *state)
{
	__m256i at = _mm256_setr_epi32(20000, 5, 1000, 77, 3, 900, 50, 1);
	__m256i mask = _mm256_setr_epi32(0, 0, -1, -1, 0, -1, 0, -1), sum = _mm256_setzero_si256();
	int *p = state;
	u64 lanes[4];

	for (int i = 0; i < 1000; i++) {
		sum = _mm256_add_epi32(sum, _mm256_i32gather_epi32(p, at, 4));
		sum = _mm256_add_epi32(sum, _mm256_maskload_epi32(p + 8 * i, mask));
		_mm256_maskstore_epi32(p + COPY / 4 + 8 * i, mask, sum);
		at = _mm256_add_epi32(at, _mm256_set1_epi32(7));
	}
	memcpy(lanes, &sum, sizeof(lanes));
	return lanes[0] + lanes[3];
}

static void *gather_prepare(void)
{
	return __builtin_cpu_supports("avx2") ? copy_prepare() : NULL;
}

/* ---- The system ---- */

static u64 getppid_unit(void *state)
{
	long same = 0, parent = getppid();

	(void)state;
	for (int i = 0; i < 100; i++)
		same += syscall(SYS_getppid) == parent;
	return (u64)same;
}

static u64 wait_for(pid_t child)
{
	int status = -1;

	if (child < 0 || waitpid(child, &status, 0) != child)
		return ~0ULL;
	return (u64)status;
}

static u64 fork_unit(void *state)
{
	pid_t child = fork();

	(void)state;
	if (!child)
		_exit(3);
	return wait_for(child);
}

static u64 exec_unit(void *state)
{
	pid_t child = fork();

	(void)state;
	if (!child) {
		execl("/proc/self/exe", "load", "-exit", (char *)NULL);
		_exit(1);
	}
	return wait_for(child);
}

struct pipes {
	int to[2], from[2];
};

static void *pipe_prepare(void)
{
	struct pipes *p = zeroed(sizeof(*p));
	char c;

	if (pipe(p->to) || pipe(p->from))
		return NULL;
	if (!fork()) {
		close(p->to[1]);
		close(p->from[0]);
		while (read(p->to[0], &c, 1) == 1 && write(p->from[1], &c, 1) == 1)
			;
		_exit(0);
	}
	return p;
}

static u64 pipe_unit(void *state)
{
	struct pipes *p = state;
	char c = 0;
	int sum = 0;

	for (int i = 0; i < 20; i++) {
		c = (char)i;
		if (write(p->to[1], &c, 1) != 1 || read(p->from[0], &c, 1) != 1)
			return ~0ULL;
		sum += c;
	}
	return (u64)sum;
}

static u64 fault_unit(void *state)
{
	enum { SIZE = 1 << 20 };
	u8 *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u64 sum = 0;

	(void)state;
	if (p == MAP_FAILED)
		return ~0ULL;
	madvise(p, SIZE, MADV_NOHUGEPAGE);
	for (int at = 0; at < SIZE; at += 4096)
		sum += ++p[at];
	munmap(p, SIZE);
	return sum;
}

/* Small mappings that come and go. */
static u64 mmap_unit(void *state)
{
	enum { SIZE = 16384 };
	u64 sum = 0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		u8 *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);

		if (p == MAP_FAILED)
			return ~0ULL;
		p[0] = 1;
		p[SIZE / 2] = 2;
		sum += p[0] + p[SIZE / 2];
		munmap(p, SIZE);
	}
	return sum;
}

static volatile sig_atomic_t nr_signals;

static void on_signal(int sig)
{
	(void)sig;
	nr_signals++;
}

static u64 signal_unit(void *state)
{
	(void)state;
	signal(SIGUSR1, on_signal);
	nr_signals = 0;
	for (int i = 0; i < 20; i++)
		raise(SIGUSR1);
	return (u64)nr_signals;
}

struct file {
	int fd;
	char text[65536];
};

static void *file_prepare(void)
{
	struct file *f = zeroed(sizeof(*f));
	char name[] = "/tmp/bench-XXXXXX";

	f->fd = mkstemp(name);
	if (f->fd < 0)
		return NULL;
	unlink(name);
	for (int i = 0; i < 16; i++)
		if (write(f->fd, f->text, sizeof(f->text)) != sizeof(f->text))
			return NULL;
	return f;
}

/* In the page cache. */
static u64 file_unit(void *state)
{
	struct file *f = state;
	u64 sum = 0;

	for (off_t i = 0; i < 16; i++) {
		sum += (u64)pread(f->fd, f->text, 4096 * (size_t)(i + 1), i * 65536);
		sum += (u64)pwrite(f->fd, f->text, 4096, i * 65536);
	}
	return sum;
}

static u64 cpuid_unit(void *state)
{
	u64 sum = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		u32 a = 0, b, c = 0, d;

		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		sum += a != 0;
	}
	return sum;
}

/* Port 80H, where the BIOS says how far it is: nobody minds. */
static void *port_prepare(void)
{
	return ioperm(0x80, 1, 1) ? NULL : zeroed(64);
}

static u64 port_unit(void *state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		outb(0x55, 0x80);
	return 0;
}

/* Two processes, each with a unit of the mix: against one of them alone it tells what a second
 * vCPU is worth. A unit is long, so that making the processes does not count. */
static u64 alone_unit(void *state)
{
	u64 sum = 0;

	for (int i = 0; i < 500; i++)
		sum += mix_unit(state);
	return sum;
}

static u64 pair_unit(void *state)
{
	pid_t child = fork();
	u64 sum;

	if (!child)
		_exit(alone_unit(state) ? 3 : 1);
	sum = alone_unit(state);
	return sum + wait_for(child);
}

static u64 none_unit(void *state)
{
	(void)state;
	return 0;
}

/* ---- Rows and marks ---- */

static const struct row rows[] = {
	{ "none", nothing_to_prepare, none_unit },
	{ "mix", mix_prepare, mix_unit },
	{ "sha256", sha_prepare, sha_unit },
	{ "quicksort", sort_prepare, sort_unit },
	{ "hash", hash_prepare, hash_unit },
	{ "chase", chase_prepare, chase_unit },
	{ "indirect", nothing_to_prepare, indirect_unit },
	{ "calls", nothing_to_prepare, calls_unit },
	{ "interpreter", nothing_to_prepare, interpreter_unit },
	{ "dgemm", dgemm_prepare, dgemm_unit },
	{ "dgemm-avx2", dgemm_avx2_prepare, dgemm_avx2_unit },
	{ "nbody", nothing_to_prepare, nbody_unit },
	{ "copy", copy_prepare, copy_unit },
	{ "triad", triad_prepare, triad_unit },
	{ "unaligned", copy_prepare, unaligned_unit },
	{ "small", copy_prepare, small_unit },
	{ "far", far_prepare, far_unit },
	{ "gather", gather_prepare, gather_unit },
	{ "getppid", nothing_to_prepare, getppid_unit },
	{ "fork", nothing_to_prepare, fork_unit },
	{ "exec", nothing_to_prepare, exec_unit },
	{ "pipe", pipe_prepare, pipe_unit },
	{ "fault", nothing_to_prepare, fault_unit },
	{ "mmap", nothing_to_prepare, mmap_unit },
	{ "signal", nothing_to_prepare, signal_unit },
	{ "file", file_prepare, file_unit },
	{ "cpuid", nothing_to_prepare, cpuid_unit },
	{ "port", port_prepare, port_unit },
	{ "alone", mix_prepare, alone_unit },
	{ "pair", mix_prepare, pair_unit },
};

enum { NR_ROWS = sizeof(rows) / sizeof(rows[0]) };

static void say(const char *text)
{
	size_t len = strlen(text);

	if (write(STDOUT_FILENO, text, len) != (ssize_t)len)
		exit(1);
	tcdrain(STDOUT_FILENO); /* the mark has left before the work begins */
}

static void run_row(const struct row *r, void *state, u64 count)
{
	char text[64];
	u64 first, wrong = 0;

	say("@b\n");
	first = r->unit(state);
	for (u64 i = 1; i < count; i++)
		wrong += r->unit(state) != first;
	snprintf(text, sizeof(text), wrong ? "@x wrong result %llx\n" : "@e %llx\n",
		 (unsigned long long)first);
	say(text);
}

/* What the last row prepared; the next one frees it, lest its fork has more to copy. */
struct prepared {
	const struct row *row;
	void *state;
};

static void prepare(struct prepared *p, const struct row *r)
{
	if (p->row == r)
		return;
	free(p->state);
	*p = (struct prepared){ r, r->prepare() };
}

static void do_line(const char *line, struct prepared *p)
{
	char name[32];
	unsigned long long count;

	if (sscanf(line, "%31s %llu", name, &count) != 2 || !count) {
		say("@x what?\n");
		return;
	}
	for (int i = 0; i < NR_ROWS; i++) {
		if (strcmp(rows[i].name, name) != 0)
			continue;
		prepare(p, &rows[i]);
		if (p->state)
			run_row(&rows[i], p->state, count);
		else
			say("@x not here\n");
		return;
	}
	say("@x no such row\n");
}

static void raw_terminal(void)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &t))
		return;
	cfmakeraw(&t);
	t.c_lflag |= ICANON; /* whole lines, but no echo */
	tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

int main(int argc, char **argv)
{
	struct prepared p = { NULL, NULL };
	char line[128];

	if (argc > 1)
		return strcmp(argv[1], "-exit") == 0 ? 3 : 1;
	setvbuf(stdin, NULL, _IOLBF, 0);
	raw_terminal();
	say("@ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "quit", 4) == 0)
			return 0;
		do_line(line, &p);
	}
	return 0;
}
