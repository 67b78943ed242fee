// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/vcpu.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void drain_wake(struct tv_vcpu *cpu)
{
	uint64_t n;

	(void)!read(cpu->wake, &n, sizeof(n));
}

static void handle_interrupts(struct tv_vcpu *cpu)
{
	struct epoll_event events[64];
	bool hit[TV_MAX_DEVICES] = { false };
	int n = epoll_wait(cpu->epoll, events, 64, -1);

	for (int e = 0; e < n; e++) {
		if (events[e].data.u32 < TV_MAX_DEVICES)
			hit[events[e].data.u32] = true;
		else
			drain_wake(cpu);
	}
	for (unsigned i = 0; i < cpu->machine->bus->n; i++) {
		if (!hit[i])
			continue;
		tv_guest_completions(cpu->machine, i);
		tv_guest_interrupts(cpu->machine, i);
	}
}

static void set_is(struct tv_vcpu *cpu, int state)
{
	cpu->is = state;
	pthread_cond_broadcast(&cpu->changed);
}

static void *vcpu_main(void *arg)
{
	struct tv_vcpu *cpu = arg;

	pthread_mutex_lock(&cpu->lock);
	while (cpu->want != TV_VCPU_ENDED) {
		if (cpu->want == TV_VCPU_PARKED) {
			set_is(cpu, TV_VCPU_PARKED);
			pthread_cond_wait(&cpu->changed, &cpu->lock);
			continue;
		}
		set_is(cpu, TV_VCPU_RUNNING);
		pthread_mutex_unlock(&cpu->lock);
		handle_interrupts(cpu);
		pthread_mutex_lock(&cpu->lock);
	}
	set_is(cpu, TV_VCPU_ENDED);
	pthread_mutex_unlock(&cpu->lock);
	return NULL;
}

static int watch(struct tv_vcpu *cpu, int fd, uint32_t tag)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = tag };

	return epoll_ctl(cpu->epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

int tv_vcpu_init(struct tv_vcpu *cpu, struct tv_machine *machine, struct ls_error *err)
{
	int r;

	memset(cpu, 0, sizeof(*cpu));
	cpu->machine = machine;
	cpu->want = cpu->is = TV_VCPU_PARKED;
	cpu->epoll = epoll_create1(EPOLL_CLOEXEC);
	cpu->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = cpu->epoll < 0 || cpu->wake < 0 ? -errno : watch(cpu, cpu->wake, UINT32_MAX);
	for (unsigned i = 0; i < machine->bus->n; i++)
		for (unsigned v = 0; v < LSM_VECTORS && !r; v++)
			r = watch(cpu, machine->bus->dev[i].irq[v], i);
	if (r)
		return ls_fail(err, LS_E_RESOURCE, -r, "cannot set up the vCPU's interrupts");
	pthread_mutex_init(&cpu->lock, NULL);
	pthread_cond_init(&cpu->changed, NULL);
	r = pthread_create(&cpu->thread, NULL, vcpu_main, cpu);
	if (r)
		return ls_fail(err, LS_E_RESOURCE, r, "cannot start the vCPU's thread");
	cpu->started = true;
	return 0;
}

static void want(struct tv_vcpu *cpu, int state)
{
	uint64_t one = 1;

	pthread_mutex_lock(&cpu->lock);
	cpu->want = state;
	pthread_cond_broadcast(&cpu->changed);
	(void)!write(cpu->wake, &one, sizeof(one));
	while (cpu->is != cpu->want)
		pthread_cond_wait(&cpu->changed, &cpu->lock);
	pthread_mutex_unlock(&cpu->lock);
}

void tv_vcpu_run(struct tv_vcpu *cpu)
{
	want(cpu, TV_VCPU_RUNNING);
}

void tv_vcpu_park(struct tv_vcpu *cpu)
{
	want(cpu, TV_VCPU_PARKED);
}

void tv_vcpu_free(struct tv_vcpu *cpu)
{
	if (!cpu->started)
		return;
	want(cpu, TV_VCPU_ENDED);
	pthread_join(cpu->thread, NULL);
	pthread_cond_destroy(&cpu->changed);
	pthread_mutex_destroy(&cpu->lock);
	close(cpu->epoll);
	close(cpu->wake);
	cpu->started = false;
}
