// SPDX-License-Identifier: MIT
/* SHA-256, written after FIPS 180-4; names are the standard's. */
#include "base/sha256.h"

#include <stdio.h>
#include <string.h>

static const u32 K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static u32 rotr(u32 x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static u32 be32(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

static void put_be32(u8 *p, u32 v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (u8)(v >> (24 - 8 * i));
}

static void schedule(const u8 *block, u32 w[64])
{
	for (int t = 0; t < 16; t++)
		w[t] = be32(block + 4 * t);
	for (int t = 16; t < 64; t++) {
		u32 s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
		u32 s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;

		w[t] = w[t - 16] + s0 + w[t - 7] + s1;
	}
}

static void compress(u32 H[8], const u8 *block)
{
	u32 w[64], v[8];

	schedule(block, w);
	memcpy(v, H, sizeof(v));
	for (int t = 0; t < 64; t++) {
		u32 a = v[0], e = v[4];
		u32 S1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
		u32 S0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
		u32 ch = (e & v[5]) ^ (~e & v[6]);
		u32 maj = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
		u32 T1 = v[7] + S1 + ch + K[t] + w[t];

		memmove(v + 1, v, 7 * sizeof(v[0]));
		v[4] += T1;
		v[0] = T1 + S0 + maj;
	}
	for (int i = 0; i < 8; i++)
		H[i] += v[i];
}

void sha256(const void *data, size_t size, u8 digest[SHA256_SIZE])
{
	u32 H[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	u8 tail[128] = { 0 };
	const u8 *p = data;
	size_t rest = size % 64, padded = rest < 56 ? 64 : 128;

	for (size_t i = 0; i + 64 <= size; i += 64)
		compress(H, p + i);
	if (rest)
		memcpy(tail, p + size - rest, rest);
	tail[rest] = 0x80;
	put_be32(tail + padded - 8, (u32)((u64)size >> 29));
	put_be32(tail + padded - 4, (u32)(size << 3));
	for (size_t i = 0; i < padded; i += 64)
		compress(H, tail + i);
	for (int i = 0; i < 8; i++)
		put_be32(digest + 4 * i, H[i]);
}

void sha256_hex(const void *data, size_t size, char hex[2 * SHA256_SIZE + 1])
{
	u8 digest[SHA256_SIZE];

	sha256(data, size, digest);
	for (int i = 0; i < SHA256_SIZE; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}
