// SPDX-License-Identifier: GPL-2.0-only
/* data_fd: an anonymous stream over a saving or a resuming session. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "lsv.h"

/* A throttled call moves at most this share of a second's worth. */
#define LSV_THROTTLE_SHARE	20

static size_t throttle_limit(u64 rate, size_t len)
{
	if (!rate)
		return len;
	return min_t(u64, len, max_t(u64, div_u64(rate, LSV_THROTTLE_SHARE), 1));
}

/* Waits, with no lock held, until the session may move bytes again. */
static int throttle_wait(struct lsv_migf *migf, u64 rate)
{
	u64 now = ktime_get_ns(), next = READ_ONCE(migf->next_ns);

	if (!rate || next <= now)
		return 0;
	if (wait_event_interruptible_timeout(migf->wq, READ_ONCE(migf->disabled),
					     nsecs_to_jiffies(next - now) + 1) < 0)
		return -EINTR;
	return 0;
}

static void throttle_account(struct lsv_migf *migf, u64 rate, size_t n)
{
	u64 now = ktime_get_ns();

	if (rate)
		migf->next_ns = max(now, migf->next_ns) +
				div64_u64((u64)n * NSEC_PER_SEC, rate);
}

/* Bytes put into the bounce page, 0: the end, negative errno. */
static int stage(struct lsv_migf *migf, size_t len)
{
	struct lsm_save *s = &migf->save;
	int n = -ENODEV;

	mutex_lock(&migf->lock);
	if (!migf->disabled) {
		mutex_lock(&migf->vf->lock);
		n = lsm_save_fill(s);
		mutex_unlock(&migf->vf->lock);
		if (n == -ENOMSG &&
		    READ_ONCE(migf->vf->dbg.quirks) & LSV_QUIRK_READ_ZERO)
			n = 0;
		if (n > 0) {
			n = min_t(size_t, min_t(size_t, n, len), PAGE_SIZE);
			memcpy(migf->bounce, s->buf + s->pos, n);
		}
	}
	mutex_unlock(&migf->lock);
	return n;
}

/* What the user has got. False: the session ended meanwhile. */
static bool taken(struct lsv_migf *migf, u32 n)
{
	bool ok;

	mutex_lock(&migf->lock);
	ok = !migf->disabled;
	if (ok)
		lsm_save_consume(&migf->save, n);
	mutex_unlock(&migf->lock);
	return ok;
}

static ssize_t read_staged(struct lsv_migf *migf, char __user *buf, size_t len)
{
	size_t done = 0;
	int n = 0;

	while (done < len) {
		n = stage(migf, len - done);
		if (n <= 0)
			break;
		if (copy_to_user(buf + done, migf->bounce, n)) {
			n = -EFAULT;
			break;
		}
		if (!taken(migf, n)) {
			n = -ENODEV;
			break;
		}
		done += n;
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	return done ? done : min(n, 0);
}

static ssize_t write_fed(struct lsv_migf *migf, const char __user *buf, size_t len)
{
	size_t done = 0;
	int ret;

	while (done < len) {
		size_t n = min_t(size_t, len - done, PAGE_SIZE);

		if (copy_from_user(migf->bounce, buf + done, n))
			return done ? done : -EFAULT;
		mutex_lock(&migf->lock);
		ret = migf->disabled ? -ENODEV :
		      lsm_load_feed(&migf->load, migf->bounce, n);
		mutex_unlock(&migf->lock);
		if (ret)
			return ret;
		done += n;
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	return done;
}

/* 0, or the rate that holds now in *ret_rate; ENODEV once disabled, EINTR. */
static int session_wait(struct lsv_migf *migf, bool saving, u64 *ret_rate)
{
	mutex_lock(&migf->lock);
	if (migf->disabled) {
		mutex_unlock(&migf->lock);
		return -ENODEV;
	}
	*ret_rate = saving ? READ_ONCE(migf->vf->dbg.save_rate) :
			     READ_ONCE(migf->vf->dbg.load_rate);
	mutex_unlock(&migf->lock);
	return throttle_wait(migf, *ret_rate);
}

/* buf is written to when saving, read from when not. */
static ssize_t session_io(struct lsv_migf *migf, bool saving, void __user *buf,
			  size_t len, loff_t *pos)
{
	ssize_t ret;
	u64 rate;

	if (pos)
		return -ESPIPE;

	if (mutex_lock_interruptible(&migf->io_lock))
		return -EINTR;
	ret = session_wait(migf, saving, &rate);
	if (!ret) {
		len = throttle_limit(rate, len);
		ret = saving ? read_staged(migf, buf, len) : write_fed(migf, buf, len);
		if (ret > 0)
			throttle_account(migf, rate, ret);
	}
	mutex_unlock(&migf->io_lock);
	return ret;
}

static ssize_t migf_read(struct file *filp, char __user *buf, size_t len, loff_t *pos)
{
	return session_io(filp->private_data, true, buf, len, pos);
}

static ssize_t migf_write(struct file *filp, const char __user *buf, size_t len,
			  loff_t *pos)
{
	return session_io(filp->private_data, false, (void __user *)buf, len, pos);
}

#if LSV_HAVE_PRE_COPY
static long migf_precopy_info(struct lsv_migf *migf, unsigned long arg)
{
	unsigned long minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct vfio_precopy_info info;
	uint64_t initial, dirty;
	int ret = -ENODEV;

	if (copy_from_user(&info, (void __user *)arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	mutex_lock(&migf->lock);
	if (!migf->disabled) {
		mutex_lock(&migf->vf->lock);
		ret = lsm_save_info(&migf->save, &initial, &dirty);
		mutex_unlock(&migf->vf->lock);
	}
	mutex_unlock(&migf->lock);
	if (ret)
		return ret;
	wake_up_all(&migf->wq);

	info.flags = 0;
	info.initial_bytes = initial;
	info.dirty_bytes = dirty;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}
#endif

static long migf_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
#if LSV_HAVE_PRE_COPY
	if (cmd == VFIO_MIG_GET_PRECOPY_INFO)
		return migf_precopy_info(filp->private_data, arg);
#endif
	return -ENOTTY;
}

/* Most drivers have no poll; a quirk of ours shows what the others do. */
static __poll_t migf_poll(struct file *filp, struct poll_table_struct *wait)
{
	struct lsv_migf *migf = filp->private_data;
	__poll_t mask = 0;

	poll_wait(filp, &migf->wq, wait);
	mutex_lock(&migf->lock);
	if (migf->disabled) {
		mask = EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	} else {
		mutex_lock(&migf->vf->lock);
		if (lsm_save_ready(&migf->save))
			mask = EPOLLIN | EPOLLRDNORM;
		mutex_unlock(&migf->vf->lock);
	}
	mutex_unlock(&migf->lock);
	return mask;
}

/* The function dropped its reference when it disabled the session. */
static int migf_release(struct inode *inode, struct file *filp)
{
	struct lsv_migf *migf = filp->private_data;

	mutex_destroy(&migf->io_lock);
	mutex_destroy(&migf->lock);
	kfree(migf->bounce);
	kfree(migf);
	return 0;
}

#define STREAM_FOPS \
	.owner = THIS_MODULE, \
	.release = migf_release, \
	LSV_NO_LLSEEK

#define SAVE_FOPS \
	STREAM_FOPS \
	.read = migf_read, \
	.unlocked_ioctl = migf_ioctl, \
	.compat_ioctl = compat_ptr_ioctl

static const struct file_operations save_fops = { SAVE_FOPS };
static const struct file_operations save_poll_fops = { SAVE_FOPS, .poll = migf_poll };
static const struct file_operations resume_fops = { STREAM_FOPS .write = migf_write };

static struct lsv_migf *migf_alloc(struct lsv_vf *vf,
				   const struct file_operations *fops, int flags)
{
	struct lsv_migf *migf = kzalloc(sizeof(*migf), GFP_KERNEL_ACCOUNT);

	if (!migf)
		return ERR_PTR(-ENOMEM);
	mutex_init(&migf->io_lock);
	mutex_init(&migf->lock);
	init_waitqueue_head(&migf->wq);
	migf->vf = vf;
	migf->bounce = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT);
	migf->filp = migf->bounce ?
		anon_inode_getfile("lockstep_mig", fops, migf, flags) :
		ERR_PTR(-ENOMEM);
	if (IS_ERR(migf->filp)) {
		int ret = PTR_ERR(migf->filp);

		kfree(migf->bounce);
		kfree(migf);
		return ERR_PTR(ret);
	}
	stream_open(migf->filp->f_inode, migf->filp);
	return migf;
}

/* A session that did not begin was never enabled. */
static struct lsv_migf *begun(struct lsv_migf *migf, int ret)
{
	if (!ret)
		return migf;
	migf->disabled = true;
	fput(migf->filp);
	return ERR_PTR(ret);
}

struct lsv_migf *lsv_migf_save(struct lsv_vf *vf, bool precopy)
{
	bool poll = READ_ONCE(vf->dbg.quirks) & LSV_QUIRK_POLL;
	struct lsv_migf *migf = migf_alloc(vf, poll ? &save_poll_fops : &save_fops,
					   O_RDONLY);

	if (IS_ERR(migf))
		return migf;
	return begun(migf, lsv_cmd_save(vf, &migf->save, precopy));
}

struct lsv_migf *lsv_migf_resume(struct lsv_vf *vf)
{
	struct lsv_migf *migf = migf_alloc(vf, &resume_fops, O_WRONLY);

	if (IS_ERR(migf))
		return migf;
	return begun(migf, lsv_cmd_load_begin(vf, &migf->load));
}

static void migf_disable(struct lsv_migf *migf, bool saving)
{
	struct lsv_vf *vf = migf->vf;

	/* A throttled reader must not hold up whoever ends the session. */
	WRITE_ONCE(migf->disabled, true);
	wake_up_all(&migf->wq);

	mutex_lock(&migf->lock);
	mutex_lock(&vf->lock);
	if (saving)
		lsm_save_end(&migf->save);
	else
		lsm_load_end(&migf->load);
	mutex_unlock(&vf->lock);
	mutex_unlock(&migf->lock);
	fput(migf->filp);
}

void lsv_disable_fds(struct lsv_vf *vf)
{
	lockdep_assert_held(&vf->state_mutex);
	if (vf->saving)
		migf_disable(vf->saving, true);
	if (vf->resuming)
		migf_disable(vf->resuming, false);
	vf->saving = vf->resuming = NULL;
}
