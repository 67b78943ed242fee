// SPDX-License-Identifier: Apache-2.0
// device_image PROVIDER PATH save OUT          the image of a device, opened as the agent opens it
// device_image PROVIDER PATH copy IN OUT       loads it and saves what the device then holds
// device_image PROVIDER PATH precopy IN OUT    loads it, pre-copies while the guest writes between the rounds and
//                                              stops: the stream
// One program for the kernel's driver (vfio) and for a simulated host's (sim): what differs is theirs. Fails with one
// line that names the step and the errno.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/compat_vfio.h"
#include "agent/provider.h"
#include "agent/sim/sim_client.h"

#define ROUNDS 4

struct bytes {
	uint8_t *p;
	size_t len;
};

static const struct ls_provider *provider;
static struct ls_dev *dev;

static _Noreturn void die(const char *step, int r)
{
	printf("%s: %s\n", step, ls_errno_name(-r));
	exit(1);
}

static void need(const char *step, int r)
{
	if (r < 0)
		die(step, r);
}

static int to(enum ls_state state)
{
	int fd;
	need(ls_state_name(state), provider->set_state(dev, state, &fd));
	return fd;
}

static struct bytes file_read(const char *path)
{
	struct bytes b = {0};
	size_t n;
	FILE *f = fopen(path, "rb");
	do {
		b.p = realloc(b.p, b.len + 65536);
		n = f && b.p ? fread(b.p + b.len, 1, 65536, f) : 0;
		b.len += n;
	} while (n);
	if (!f || ferror(f))
		die(path, -EIO);
	fclose(f);
	return b;
}

static void file_write(const char *path, const struct bytes *b)
{
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(b->p, 1, b->len, f) != b->len || fclose(f))
		die(path, -EIO);
}

// To the end, or while pre-copying to the end of the round.
static void drain(int fd, struct bytes *b)
{
	ssize_t n;
	do {
		b->p = realloc(b->p, b->len + 65536);
		n = b->p ? provider->read(dev, fd, b->p + b->len, 65536) : -ENOMEM;
		if (n > 0)
			b->len += (size_t)n;
	} while (n > 0);
	if (n != -ENOMSG)
		need("read", (int)n);
}

static void load(const struct bytes *b)
{
	int fd = to(LS_STATE_RESUMING);
	for (size_t at = 0; at < b->len;) {
		ssize_t n = provider->write(dev, fd, b->p + at, b->len - at < 65536 ? b->len - at : 65536);
		need("write", (int)n);
		at += (size_t)n;
	}
	to(LS_STATE_STOP);
	close(fd);
}

static void save(struct bytes *b)
{
	int fd = to(LS_STATE_STOP_COPY);
	drain(fd, b);
	close(fd);
}

// As the VM would: the command register is not part of an image.
static void guest_write(unsigned region, uint64_t at, const void *buf, size_t len)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = region};
	if (provider == &ls_provider_sim) {
		need("guest's write", ls_sim_region_write(provider->fd(dev), (enum ls_sim_region)region, at, buf, len));
		return;
	}
	if (ioctl(provider->fd(dev), VFIO_DEVICE_GET_REGION_INFO, &info) < 0 ||
	    pwrite(provider->fd(dev), buf, len, (off_t)(info.offset + at)) != (ssize_t)len)
		die("guest's write", -errno);
}

// The engine stays still (no bus master): the stream follows from the image and these writes alone.
static void precopy(struct bytes *b)
{
	const uint16_t memory_on = 2;
	uint64_t initial, dirty;
	int fd = to(LS_STATE_PRE_COPY);
	guest_write(VFIO_PCI_CONFIG_REGION_INDEX, 4, &memory_on, sizeof(memory_on));
	drain(fd, b);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		for (uint64_t page = 0; page < 3; page++) {
			uint64_t word = round == ROUNDS ? 0 : round << 32 | page;
			guest_write(VFIO_PCI_BAR2_REGION_INDEX, page * (round + 40) * 4096, &word, sizeof(word));
		}
		need("precopy info", provider->precopy_info(dev, fd, &initial, &dirty));
		if (dirty == 0)
			die("nothing is dirty", -EPROTO);
		drain(fd, b);
	}
	int none = to(LS_STATE_PRE_COPY_P2P);
	if (none < 0)
		none = to(LS_STATE_STOP_COPY);
	if (none >= 0)
		die("a stream that nobody asked for", -EPROTO);
	drain(fd, b);
	close(fd);
}

int main(int argc, char **argv)
{
	struct ls_error err = {0};
	char text[512];
	const char *verb = argc > 3 ? argv[3] : "";
	bool saves = strcmp(verb, "save") == 0 && argc == 5, copies = strcmp(verb, "copy") == 0 && argc == 6;
	bool precopies = strcmp(verb, "precopy") == 0 && argc == 6;
	provider = argc > 1 ? ls_provider_find(argv[1]) : NULL;
	if (!provider || !(saves || copies || precopies)) {
		fprintf(stderr, "usage: device_image vfio|sim PATH save OUT | copy IN OUT | precopy IN OUT\n");
		return 2;
	}
	if (provider->open(argv[2], -1, &dev, &err) < 0) {
		printf("%s\n", ls_error_text(&err, text, sizeof(text)));
		return 1;
	}
	struct bytes in = {0}, out = {0};
	if (!saves) {
		in = file_read(argv[4]);
		load(&in);
	}
	if (precopies)
		precopy(&out);
	else
		save(&out);
	provider->close(dev);
	file_write(argv[argc - 1], &out);
	free(in.p);
	free(out.p);
	return 0;
}
