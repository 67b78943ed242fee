/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-encoding of grpc-message, base64 of binary trailers. */
#include <errno.h>

#include "proto/wire/grpc.h"

static const char hex[] = "0123456789ABCDEF";

size_t ls_grpc_percent_encode(const char *text, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c <= 0x7e && c != '%') {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '%';
		out[n++] = hex[c >> 4];
		out[n++] = hex[c & 15];
	}
	out[n] = '\0';
	return n;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

size_t ls_grpc_percent_decode(const char *text, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int high = -1;
		int low = -1;

		if (text[i] == '%' && i + 2 < len) {
			high = hex_value(text[i + 1]);
			low = hex_value(text[i + 2]);
		}
		if (high < 0 || low < 0) {
			out[n++] = text[i];
			continue;
		}
		out[n++] = (char)(high << 4 | low);
		i += 2;
	}
	out[n] = '\0';
	return n;
}

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t ls_grpc_base64_encode(const uint8_t *bytes, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t group = (uint32_t)bytes[i] << 16;

		if (left > 1)
			group |= (uint32_t)bytes[i + 1] << 8;
		if (left > 2)
			group |= bytes[i + 2];
		out[n++] = base64_digits[group >> 18];
		out[n++] = base64_digits[group >> 12 & 63];
		out[n++] = left > 1 ? base64_digits[group >> 6 & 63] : '=';
		out[n++] = left > 2 ? base64_digits[group & 63] : '=';
	}
	out[n] = '\0';
	return n;
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

int ls_grpc_base64_decode(const char *text, size_t len, uint8_t *out, size_t *ret_len)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;

	if (len % 4 == 0)
		for (int pad = 0; pad < 2 && len > 0 && text[len - 1] == '='; pad++)
			len--;
	if (len % 4 == 1)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		int value = base64_value(text[i]);

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (uint8_t)(bits >> have);
		}
	}
	*ret_len = n;
	return 0;
}
