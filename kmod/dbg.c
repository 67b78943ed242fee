// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs, for tests: lockstep_vdev/<uuid>/
 *   arc_latency  "FROM TO MS"; MS 0 takes it away, and lets go of whoever waits
 *   fail_arc     "FROM TO ERRNO [sticky] [error]"; ERRNO 0 takes it away
 *   arcs         count and last duration of every arc taken; the one under way
 *   save_rate, load_rate  bytes per second, 0: no limit
 *   transfer_ms  every write to RAM or to a peer takes that much longer
 *   counters     what the host knows and the guest does not
 *   state        where the function is, whoever drives it
 *   quirks       LSV_QUIRK_*
 *   reset        any write: the function is reset as its guest would
 * lockstep_vdev/lockstep-pfN/
 *   going        1: as when the parent goes away; 0: it is back
 * States are names or numbers.
 */
#include <linux/debugfs.h>
#include <linux/hrtimer.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "lsv.h"

static const char * const state_names[LSV_STATES] = {
	"ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING",
	"RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
};

static struct dentry *root;

/*
 * By the clock that tests read: jiffies may catch up on lost ticks and cut a sleep
 * short. Ends early when the setting is changed.
 */
static void setting_sleep(struct lsv_vf *vf, const u32 *setting)
{
	u32 ms = READ_ONCE(*setting);
	ktime_t end = ktime_add_ms(ktime_get(), ms);
	DEFINE_WAIT(wait);

	if (!ms)
		return;
	for (;;) {
		prepare_to_wait(&vf->dbg.wq, &wait, TASK_KILLABLE);
		if (READ_ONCE(*setting) != ms || fatal_signal_pending(current) ||
		    !ktime_before(ktime_get(), end))
			break;
		schedule_hrtimeout(&end, HRTIMER_MODE_ABS);
	}
	finish_wait(&vf->dbg.wq, &wait);
}

/* Outstanding work of a length that a test chooses. */
void lsv_dbg_transfer(struct lsv_vf *vf)
{
	setting_sleep(vf, &vf->dbg.transfer_ms);
}

int lsv_dbg_arc(struct lsv_vf *vf, u32 cur, u32 next, bool *ret_to_error)
{
	u32 *slot = &vf->dbg.fail[cur][next];
	u32 fail = READ_ONCE(*slot);

	setting_sleep(vf, &vf->dbg.latency_ms[cur][next]);
	if (!fail)
		return 0;
	if (!(fail & LSV_FAIL_STICKY))
		WRITE_ONCE(*slot, 0);
	*ret_to_error = fail & LSV_FAIL_TO_ERROR;
	return -(int)(fail & 0xffff);
}

static int parse_state(const char *word, u32 *ret_state)
{
	int i = match_string(state_names, LSV_STATES, word);

	if (i < 0 && (kstrtoint(word, 10, &i) || i < 0 || i >= LSV_STATES))
		return -EINVAL;
	*ret_state = i;
	return 0;
}

/* "FROM TO NUMBER [word [word]]"; returns the words after the number in line. */
static char *parse_arc(char *line, u32 *from, u32 *to, u32 *number)
{
	char *a, *b, *n;

	line = strim(line);
	a = strsep(&line, " ");
	b = strsep(&line, " ");
	n = strsep(&line, " ");
	if (!a || !b || !n || parse_state(a, from) || parse_state(b, to) ||
	    kstrtou32(n, 10, number))
		return ERR_PTR(-EINVAL);
	return line;
}

static ssize_t arc_write(struct file *file, const char __user *buf, size_t len,
			 int (*apply)(struct lsv_vf *, u32, u32, u32, char *))
{
	struct lsv_vf *vf = ((struct seq_file *)file->private_data)->private;
	u32 from, to, number;
	char *line, *rest;
	int ret;

	if (len > 128)
		return -EINVAL;
	line = memdup_user_nul(buf, len);
	if (IS_ERR(line))
		return PTR_ERR(line);
	rest = parse_arc(line, &from, &to, &number);
	ret = IS_ERR(rest) ? PTR_ERR(rest) : apply(vf, from, to, number, rest);
	kfree(line);
	return ret ? ret : len;
}

static int apply_latency(struct lsv_vf *vf, u32 from, u32 to, u32 ms, char *rest)
{
	if (rest || ms > LSV_LATENCY_MAX_MS)
		return -EINVAL;
	WRITE_ONCE(vf->dbg.latency_ms[from][to], ms);
	wake_up_all(&vf->dbg.wq);
	return 0;
}

static int apply_fail(struct lsv_vf *vf, u32 from, u32 to, u32 err, char *rest)
{
	u32 value = err;
	char *word;

	if (err > MAX_ERRNO)
		return -EINVAL;
	while ((word = strsep(&rest, " "))) {
		if (!strcmp(word, "sticky"))
			value |= LSV_FAIL_STICKY;
		else if (!strcmp(word, "error"))
			value |= LSV_FAIL_TO_ERROR;
		else
			return -EINVAL;
	}
	WRITE_ONCE(vf->dbg.fail[from][to], err ? value : 0);
	return 0;
}

static int arc_latency_show(struct seq_file *m, void *unused)
{
	struct lsv_vf *vf = m->private;
	u32 i, j;

	for (i = 0; i < LSV_STATES; i++)
		for (j = 0; j < LSV_STATES; j++)
			if (vf->dbg.latency_ms[i][j])
				seq_printf(m, "%s %s %u\n", state_names[i],
					   state_names[j], vf->dbg.latency_ms[i][j]);
	return 0;
}

static ssize_t arc_latency_write(struct file *file, const char __user *buf,
				 size_t len, loff_t *pos)
{
	return arc_write(file, buf, len, apply_latency);
}

static int fail_arc_show(struct seq_file *m, void *unused)
{
	struct lsv_vf *vf = m->private;
	u32 i, j;

	for (i = 0; i < LSV_STATES; i++)
		for (j = 0; j < LSV_STATES; j++) {
			u32 f = vf->dbg.fail[i][j];

			if (f)
				seq_printf(m, "%s %s %u%s%s\n", state_names[i],
					   state_names[j], f & 0xffff,
					   f & LSV_FAIL_STICKY ? " sticky" : "",
					   f & LSV_FAIL_TO_ERROR ? " error" : "");
		}
	return 0;
}

static ssize_t fail_arc_write(struct file *file, const char __user *buf,
			      size_t len, loff_t *pos)
{
	return arc_write(file, buf, len, apply_fail);
}

static int arcs_show(struct seq_file *m, void *unused)
{
	struct lsv_vf *vf = m->private;
	u32 i, j, now = READ_ONCE(vf->dbg.now);

	if (now == LSV_NOW_RESET)
		seq_puts(m, "reset now\n");
	else if (now)
		seq_printf(m, "%s %s now\n",
			   state_names[(now - LSV_NOW_ARC(0, 0)) / LSV_STATES],
			   state_names[(now - LSV_NOW_ARC(0, 0)) % LSV_STATES]);
	for (i = 0; i < LSV_STATES; i++)
		for (j = 0; j < LSV_STATES; j++)
			if (vf->dbg.arc_count[i][j])
				seq_printf(m, "%s %s count %llu last_us %llu\n",
					   state_names[i], state_names[j],
					   vf->dbg.arc_count[i][j],
					   vf->dbg.arc_us[i][j]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(arcs);

static int counters_show(struct seq_file *m, void *unused)
{
	struct lsv_vf *vf = m->private;

	mutex_lock(&vf->lock);
	seq_printf(m, "rx_dropped %llu\nmmio_dropped %llu\nrx_outside %llu\n"
		   "pages %u\ndone %llu\n",
		   vf->model.stats.rx_dropped, vf->model.stats.mmio_dropped,
		   vf->model.stats.rx_outside, vf->model.touched, vf->model.r.done);
	mutex_unlock(&vf->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

/* Without the state mutex: an arc that hangs holds it. */
static int state_show(struct seq_file *m, void *unused)
{
	struct lsv_vf *vf = m->private;

	seq_printf(m, "%s\n", state_names[READ_ONCE(vf->state)]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(state);

static int arc_latency_open(struct inode *inode, struct file *file)
{
	return single_open(file, arc_latency_show, inode->i_private);
}

static int fail_arc_open(struct inode *inode, struct file *file)
{
	return single_open(file, fail_arc_show, inode->i_private);
}

static const struct file_operations arc_latency_fops = {
	.owner = THIS_MODULE,
	.open = arc_latency_open,
	.read = seq_read,
	.write = arc_latency_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static const struct file_operations fail_arc_fops = {
	.owner = THIS_MODULE,
	.open = fail_arc_open,
	.read = seq_read,
	.write = fail_arc_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static ssize_t reset_write(struct file *file, const char __user *buf, size_t len,
			   loff_t *pos)
{
	int ret = lsv_vf_reset(file->private_data);

	return ret ? ret : len;
}

static const struct file_operations reset_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = reset_write,
};

static int transfer_get(void *data, u64 *value)
{
	struct lsv_vf *vf = data;

	*value = READ_ONCE(vf->dbg.transfer_ms);
	return 0;
}

static int transfer_set(void *data, u64 value)
{
	struct lsv_vf *vf = data;

	if (value > LSV_TRANSFER_MAX_MS)
		return -EINVAL;
	WRITE_ONCE(vf->dbg.transfer_ms, value);
	wake_up_all(&vf->dbg.wq);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(transfer_fops, transfer_get, transfer_set, "%llu\n");

static int going_get(void *data, u64 *value)
{
	struct lsv_pf *pf = data;

	*value = READ_ONCE(pf->going);
	return 0;
}

static int going_set(void *data, u64 value)
{
	if (value)
		lsv_pf_disable(data);
	else
		lsv_pf_enable(data);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(going_fops, going_get, going_set, "%llu\n");

void lsv_dbg_add_pf(struct lsv_pf *pf)
{
	pf->dbg_dir = debugfs_create_dir(dev_name(pf->dev), root);
	debugfs_create_file("going", 0600, pf->dbg_dir, pf, &going_fops);
}

void lsv_dbg_del_pf(struct lsv_pf *pf)
{
	debugfs_remove_recursive(pf->dbg_dir);
}

void lsv_dbg_add(struct lsv_vf *vf)
{
	struct dentry *d = debugfs_create_dir(dev_name(&vf->mdev->dev), root);

	debugfs_create_file("arc_latency", 0600, d, vf, &arc_latency_fops);
	debugfs_create_file("fail_arc", 0600, d, vf, &fail_arc_fops);
	debugfs_create_file("arcs", 0400, d, vf, &arcs_fops);
	debugfs_create_file("counters", 0400, d, vf, &counters_fops);
	debugfs_create_file("state", 0400, d, vf, &state_fops);
	debugfs_create_u64("save_rate", 0600, d, &vf->dbg.save_rate);
	debugfs_create_u64("load_rate", 0600, d, &vf->dbg.load_rate);
	debugfs_create_file("transfer_ms", 0600, d, vf, &transfer_fops);
	debugfs_create_u32("quirks", 0600, d, &vf->dbg.quirks);
	debugfs_create_file("reset", 0200, d, vf, &reset_fops);
	vf->dbg.dir = d;
}

void lsv_dbg_del(struct lsv_vf *vf)
{
	debugfs_remove_recursive(vf->dbg.dir);
}

void lsv_dbg_init_vf(struct lsv_vf *vf)
{
	init_waitqueue_head(&vf->dbg.wq);
}

void lsv_dbg_init(void)
{
	root = debugfs_create_dir("lockstep_vdev", NULL);
}

void lsv_dbg_exit(void)
{
	debugfs_remove_recursive(root);
}
