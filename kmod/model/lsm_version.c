// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* migration_version: what one side says of its images, and what the other makes of it. */
#include "lsm_priv.h"

static char *lsm_put_text(char *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n);
	return to + n;
}

static char *lsm_put_hex4(char *to, uint32_t v)
{
	uint32_t i;

	for (i = 0; i < 4; i++)
		*to++ = "0123456789abcdef"[v >> (12 - 4 * i) & 15];
	return to;
}

static char *lsm_put_decimal(char *to, uint32_t v)
{
	char digits[10];
	uint32_t n = 0;

	do {
		digits[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	while (n)
		*to++ = digits[--n];
	return to;
}

void lsm_version_print(const struct lsm_type_info *info, uint32_t image,
		       uint32_t mem_size, char *buf)
{
	buf = lsm_put_hex4(buf, LSM_PCI_VENDOR);
	*buf++ = '-';
	buf = lsm_put_hex4(buf, info->pci_device);
	*buf++ = '-';
	buf = lsm_put_text(buf, info->name);
	*buf++ = '-';
	buf = lsm_put_decimal(buf, image % 1000000);
	*buf++ = '.';
	buf = lsm_put_decimal(buf, mem_size >> 20);
	*buf = 0;
}

/* Each reads its part and what must follow it; NULL: not of that form. */
static const char *lsm_get_hex4(const char *p, char end, uint32_t *ret)
{
	uint32_t i, v = 0;

	for (i = 0; p && i < 4; i++, p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (uint32_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (uint32_t)(*p - 'a' + 10);
		else
			return NULL;
	}
	*ret = v;
	return p && *p == end ? p + 1 : NULL;
}

static const char *lsm_get_word(const char *p, char end, const char **ret, size_t *ret_len)
{
	if (!p)
		return NULL;
	*ret = p;
	while ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9'))
		p++;
	*ret_len = (size_t)(p - *ret);
	return *ret_len && *p == end ? p + 1 : NULL;
}

static const char *lsm_get_decimal(const char *p, char end, uint32_t *ret)
{
	uint32_t v = 0, n = 0;

	for (; p && *p >= '0' && *p <= '9'; p++, n++) {
		if (n == 6)
			return NULL;
		v = v * 10 + (uint32_t)(*p - '0');
	}
	*ret = v;
	if (!p || !n || *p != end)
		return NULL;
	return end ? p + 1 : p;
}

int lsm_version_check(const struct lsm_type_info *info, uint32_t image,
		      uint32_t mem_size, const char *text)
{
	uint32_t vendor = 0, device = 0, theirs = 0, mib = 0;
	const char *type = NULL, *p = text;
	size_t len = 0;

	p = lsm_get_hex4(p, '-', &vendor);
	p = lsm_get_hex4(p, '-', &device);
	p = lsm_get_word(p, '-', &type, &len);
	p = lsm_get_decimal(p, '.', &theirs);
	p = p && strchr(p, '\n') ? lsm_get_decimal(p, '\n', &mib) :
				   lsm_get_decimal(p, 0, &mib);
	if (!p || *p)
		return -EINVAL;

	/* Each of our types has a device id of its own: a known one is a type. */
	if (vendor != LSM_PCI_VENDOR || device < 0x1001 || device > 0x1003)
		return -ENODEV;
	if (device != info->pci_device || len != strlen(info->name) ||
	    memcmp(type, info->name, len))
		return -EMEDIUMTYPE;
	if (theirs > image || theirs + 1 < image || !theirs)
		return -EOPNOTSUPP;
	if (mem_size && mib != mem_size >> 20)
		return -EFBIG;
	return 0;
}
