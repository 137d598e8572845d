// SPDX-License-Identifier: MIT
/*
 * CPU-bound kernels without a library, linked at a fixed address: the same
 * bytes run natively and on the software engine. Each takes scratch memory and
 * a repeat count, and returns a checksum.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

static u64 rng(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static u64 k_sha256(u8 *mem, u64 n)
{
	static const u32 k[64] = {
		0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
		0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
		0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
		0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
		0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
		0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
		0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
		0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
		0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
		0xc67178f2
	};
	u32 h[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

#define ROR(x, c) ((x) >> (c) | (x) << (32 - (c)))
	for (u64 b = 0; b < n * 400; b++) {
		u32 w[64], v[8];
		const u32 *in = (const u32 *)(void *)(mem + (b & 63) * 64);

		for (int i = 0; i < 16; i++)
			w[i] = __builtin_bswap32(in[i]);
		for (int i = 16; i < 64; i++) {
			u32 s0 = ROR(w[i - 15], 7) ^ ROR(w[i - 15], 18) ^ w[i - 15] >> 3;
			u32 s1 = ROR(w[i - 2], 17) ^ ROR(w[i - 2], 19) ^ w[i - 2] >> 10;

			w[i] = w[i - 16] + s0 + w[i - 7] + s1;
		}
		for (int i = 0; i < 8; i++)
			v[i] = h[i];
		for (int i = 0; i < 64; i++) {
			u32 s1 = ROR(v[4], 6) ^ ROR(v[4], 11) ^ ROR(v[4], 25);
			u32 t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
			u32 s0 = ROR(v[0], 2) ^ ROR(v[0], 13) ^ ROR(v[0], 22);
			u32 t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

			for (int j = 7; j > 0; j--)
				v[j] = v[j - 1];
			v[4] += t1;
			v[0] = t1 + t2;
		}
		for (int i = 0; i < 8; i++)
			h[i] += v[i];
	}
	return h[0] ^ (u64)h[5] << 32;
}

static void qsort_range(u32 *a, long lo, long hi)
{
	while (lo < hi) {
		u32 pivot = a[(lo + hi) / 2];
		long i = lo, j = hi;

		while (i <= j) {
			while (a[i] < pivot)
				i++;
			while (a[j] > pivot)
				j--;
			if (i <= j) {
				u32 t = a[i];

				a[i++] = a[j];
				a[j--] = t;
			}
		}
		if (j - lo < hi - i) {
			qsort_range(a, lo, j);
			lo = i;
		} else {
			qsort_range(a, i, hi);
			hi = j;
		}
	}
}

static u64 k_quicksort(u8 *mem, u64 n)
{
	u32 *a = (u32 *)(void *)mem;
	u64 s = 88172645463325252ull, sum = 0;

	for (u64 r = 0; r < n; r++) {
		for (int i = 0; i < 20000; i++)
			a[i] = (u32)rng(&s);
		qsort_range(a, 0, 19999);
		sum += a[r % 20000];
	}
	return sum;
}

static u64 k_hash(u8 *mem, u64 n)
{
	struct node { u64 key, value; } *t = (struct node *)(void *)mem;
	u64 s = 42, sum = 0, mask = (1 << 17) - 1;

	for (u64 i = 0; i < n * 40000; i++) {
		u64 key = (rng(&s) & 0xffff) + 1, h = key * 0x9e3779b97f4a7c15ul >> 40 & mask;

		while (t[h].key && t[h].key != key)
			h = (h + 1) & mask;
		t[h].key = key;
		sum += t[h].value++;
	}
	return sum;
}

static u64 k_chase(u8 *mem, u64 n)
{
	u64 *p = (u64 *)(void *)mem;
	u64 count = 1 << 15, i = 0;

	for (u64 k = 0; k < count; k++)
		p[k] = (k * 20173 + 12345) & (count - 1);
	for (u64 k = 0; k < n * 100000; k++)
		i = p[i];
	return i;
}

static u64 f0(u64 x) { return x * 3 + 1; }
static u64 f1(u64 x) { return x ^ x >> 3; }
static u64 f2(u64 x) { return x + 77; }
static u64 f3(u64 x) { return x << 1 | x >> 63; }

static u64 k_indirect(u8 *mem, u64 n)
{
	u64 (*volatile *fn)(u64) = (u64(*volatile *)(u64))(void *)mem;
	u64 x = 1;

	fn[0] = f0;
	fn[1] = f1;
	fn[2] = f2;
	fn[3] = f3;
	for (u64 i = 0; i < n * 50000; i++)
		x = fn[(x ^ i) & 3](x);
	return x;
}

static u64 k_dgemm(u8 *mem, u64 n)
{
	enum { N = 64 };
	double *a = (double *)(void *)mem, *b = a + N * N, *c = b + N * N, sum = 0;

	for (int i = 0; i < N * N; i++) {
		a[i] = i % 7;
		b[i] = i % 5;
		c[i] = 0;
	}
	for (u64 r = 0; r < n; r++)
		for (int i = 0; i < N; i++)
			for (int k = 0; k < N; k++) {
				double x = a[i * N + k];

				for (int j = 0; j < N; j++)
					c[i * N + j] += x * b[k * N + j];
			}
	for (int i = 0; i < N * N; i++)
		sum += c[i];
	return (u64)sum;
}

/* List, state machine and matrix, as CoreMark mixes them. */
static u64 k_mix(u8 *mem, u64 n)
{
	struct item { struct item *next; short v, id; } *list = (struct item *)(void *)mem;
	short *m = (short *)(void *)(mem + 65536);
	u8 *text = mem + 131072;
	u64 crc = 0;

	for (int i = 0; i < 1000; i++) {
		list[i].next = i < 999 ? &list[i + 1] : 0;
		list[i].v = (short)(i * 7919 & 0x7fff);
		list[i].id = (short)i;
	}
	for (int i = 0; i < 1024; i++)
		m[i] = (short)(i * 31);
	for (int i = 0; i < 4096; i++)
		text[i] = (u8)("0123456789+-.eE,xyz"[i * 7 % 19]);
	for (u64 r = 0; r < n * 4; r++) {
		struct item *prev = 0, *p = list;
		int state = 0, counts[4] = { 0 };

		while (p) {
			struct item *next = p->next;

			crc = crc * 31 + (u64)(p->v ^ r);
			p->next = prev;
			prev = p;
			p = next;
		}
		for (p = prev, prev = 0; p;) {
			struct item *next = p->next;

			p->next = prev;
			prev = p;
			p = next;
		}
		for (int i = 0; i < 16; i++)
			for (int j = 0; j < 16; j++) {
				int s = 0;

				for (int k = 0; k < 16; k++)
					s += m[i * 16 + k] * m[k * 16 + j];
				crc ^= (u64)s;
			}
		for (int i = 0; i < 2000; i++) {
			u8 ch = text[i];

			switch (state) {
			case 0: state = ch >= '0' && ch <= '9' ? 1 : ch == '+' || ch == '-' ? 2 : 0; break;
			case 1: state = ch == '.' ? 2 : ch >= '0' && ch <= '9' ? 1 : 3; break;
			case 2: state = ch >= '0' && ch <= '9' ? 1 : ch == 'e' || ch == 'E' ? 3 : 0; break;
			default: state = ch == ',' ? 0 : 3; break;
			}
			counts[state]++;
		}
		for (int i = 0; i < 4; i++)
			crc = (crc << 5 | crc >> 59) ^ (u64)counts[i];
	}
	return crc;
}

static u64 k_copy(u8 *mem, u64 n)
{
	u64 *a = (u64 *)(void *)mem, *b = a + 65536;

	for (u64 r = 0; r < n; r++)
		for (int i = 0; i < 65536; i++)
			b[i] = a[i] + r;
	return b[77];
}

u64 kernel_main(u64 which, u8 *mem, u64 n);
__attribute__((section(".text.unlikely.start"))) u64 kernel_main(u64 which, u8 *mem, u64 n)
{
	switch (which) {
	case 0: return k_mix(mem, n);
	case 1: return k_sha256(mem, n);
	case 2: return k_quicksort(mem, n);
	case 3: return k_hash(mem, n);
	case 4: return k_chase(mem, n);
	case 5: return k_indirect(mem, n);
	case 6: return k_dgemm(mem, n);
	case 7: return k_copy(mem, n);
	}
	return 0;
}
