// SPDX-License-Identifier: Apache-2.0
// Inside lockstep-simhost. Locks, outer to inner:
//
//   dev->state    arcs, reset, close: held for the whole of an arc, as a kernel driver does
//   session->io   the data_fd's own: reading, feeding, ending
//   dev->lock     the model's, granted in order
//   dev->witness  outside dev->lock
//   dev->maps, dev->irqs, dev->debug.lock: leaves
//
// P2P delivery takes the receiver's dev->lock holding none of the sender's (K11).
#ifndef LS_AGENT_SIMHOST_H
#define LS_AGENT_SIMHOST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/sim/sim_client.h"
#include "agent/sim/sim_proto.h"
#include "common/error.h"
#include "kmod/model/lsm.h"

#define SIM_MAX_DEVICES 64
#define SIM_MAX_MAPS 64
#define SIM_STATES 8
#define SIM_CONFIG_SIZE 256u

struct sim_lock {
	pthread_mutex_t mutex;
	pthread_cond_t turn;
	uint64_t next, serving;
};

struct sim_map {
	uint64_t iova, size;
	uint8_t *base;   // of the device's bytes
	void *mapping;   // page aligned, as mmap gave it
	size_t mapped;
};

struct sim_arc_debug {
	uint64_t latency_ms;
	int fail;        // positive errno, 0: none
	unsigned left;   // failures to come; 0 with `fail` set: until cleared
	bool into_error, stick;
};

struct sim_debug {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct sim_arc_debug arc[SIM_STATES][SIM_STATES];
	bool stick_read;   // the next read of a data_fd hangs
	unsigned stuck;    // arcs and reads that wait now
	unsigned releases; // grows with each `release`
};

struct sim_session {
	atomic_uint refs; // the device's pointer to it, and its thread
	struct sim_dev *dev;
	int sock;
	pthread_mutex_t io;
	bool saving;
	bool dead; // under io
	struct lsm_save save;
	struct lsm_load load;
	uint64_t next_ns; // pacing
};

struct sim_host;

struct sim_dev {
	struct sim_host *host;
	// configuration
	char name[64], type_name[32];
	uint64_t mem_size, fabric, slot, numa_node;
	unsigned line;
	const struct lsm_type_info *info;
	_Atomic uint64_t rate, save_rate, load_rate;
	_Atomic uint64_t lose_p2p; // that many of the peers' next writes to it vanish on the way
	_Atomic uint64_t renew, renewed; // how often initial data will appear anew, and has

	pthread_mutex_t state;
	atomic_int cur;
	struct sim_session *session;

	struct sim_lock lock;
	pthread_cond_t wake; // the engine may have work
	pthread_cond_t idle; // a step has ended
	struct lsm_dev model;
	uint8_t config[SIM_CONFIG_SIZE];

	pthread_rwlock_t maps;
	struct sim_map map[SIM_MAX_MAPS];
	unsigned n_maps;

	pthread_mutex_t irqs;
	int irq[LSM_VECTORS];
	uint64_t irq_lost;

	struct sim_debug debug;
	pthread_mutex_t witness;
	bool was_live; // under witness
	atomic_bool is_open;
	int sock;      // the host's end, while it is open; under the host's `opening`
	atomic_uint users; // threads that serve the device fd
};

struct sim_host {
	char socket_path[108];
	uint64_t software_version;
	unsigned n;
	struct sim_dev dev[SIM_MAX_DEVICES];
	pthread_mutex_t opening;
	pthread_cond_t closed;
};

// A request as received; fds are closed by sim_reply() or sim_request_drop().
struct sim_request {
	struct ls_sim_request head;
	uint8_t payload[LS_SIM_INLINE];
	int reply_fd, fd; // -1: none
};

// ---- simwire.c ----
// 1: a request; 0: the last dup of the other end is closed; negative errno.
int sim_recv(int sock, struct sim_request *req);
// Payload beyond what came inline; exactly head.len bytes into buf.
int sim_recv_bulk(struct sim_request *req, void *buf);
// pass_fd: handed over and closed here; -1: none. `value` may be NULL (zeros).
void sim_reply(struct sim_request *req, int status, const uint64_t value[2], const void *data, size_t len, int pass_fd);
int sim_thread(void *(*run)(void *), void *arg); // detached
uint64_t sim_pace(uint64_t next_ns, uint64_t n, uint64_t rate); // sleeps; answers the new next_ns

// ---- simlock.c ----
void sim_lock_init(struct sim_lock *l);
void sim_lock(struct sim_lock *l);
void sim_unlock(struct sim_lock *l);
void sim_lock_wait(struct sim_lock *l, pthread_cond_t *cond); // as pthread_cond_wait()

// ---- simdev.c ----
int sim_dev_init(struct sim_dev *d, struct sim_host *host, struct ls_error *err);
int sim_dev_open(struct sim_dev *d, int *ret_fd);
void sim_dev_wait_closed(struct sim_dev *d);
void sim_dev_version(const struct sim_dev *d, char buf[LSM_VERSION_MAX]);
void sim_dev_type(const struct sim_dev *d, char *buf, size_t size);

// ---- simdma.c ----
extern const struct lsm_env sim_env;
int sim_map_add(struct sim_dev *d, int memfd, uint64_t offset, uint64_t iova, uint64_t size);
int sim_map_remove(struct sim_dev *d, uint64_t iova, uint64_t size);
void sim_map_clear(struct sim_dev *d);
int sim_irq_set(struct sim_dev *d, uint64_t vector, int eventfd); // takes eventfd over; -1: none
void sim_irq_clear(struct sim_dev *d);

// ---- simconfig.c: PCI config space; dev->lock held ----
void sim_config_reset(struct sim_dev *d);
int sim_config_read(struct sim_dev *d, uint64_t off, void *buf, uint64_t len);
int sim_config_write(struct sim_dev *d, uint64_t off, const void *buf, uint64_t len);

// ---- simarc.c ----
int sim_set_state(struct sim_dev *d, uint64_t state, int *data_fd);
int sim_reset(struct sim_dev *d);

// ---- simwitness.c ----
bool sim_live(struct sim_dev *d);
void sim_testify(struct sim_dev *d, uint64_t begin_ns); // after what may have changed it

// ---- simsession.c ----
int sim_session_new(struct sim_dev *d, bool saving, bool precopy, int *ret_fd);
void sim_session_final(struct sim_session *s);
int sim_session_commit(struct sim_session *s);
void sim_session_end(struct sim_dev *d); // later calls on the data_fd answer ENODEV

// ---- simserve.c, simdebug.c ----
void *sim_serve_device(void *sock_and_dev);
void *sim_serve_control(void *sock_and_host);
struct sim_serving {
	struct sim_host *host;
	struct sim_dev *dev;
	int sock;
};
int sim_debug_command(struct sim_dev *d, char *command);
// Injected behaviour of one arc: sleeps, sticks, fails. 0 or negative errno; *into_error.
int sim_debug_arc(struct sim_dev *d, unsigned from, unsigned to, bool *into_error);
void sim_debug_read(struct sim_dev *d); // may take its time

#endif
