// SPDX-License-Identifier: GPL-2.0-only
/*
 * What kmod_test.sh must notice, on demand: echo NAME >/sys/kernel/debug/faulty. For kmod_controls.sh alone; no part of
 * the driver, and the module goes nowhere but into an emulated host.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/uaccess.h>

static struct dentry *file;
static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);
static DECLARE_COMPLETION(never);

static int use_after_free(void)
{
	u32 *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return -ENOMEM;
	kfree(p);
	WRITE_ONCE(p[3], READ_ONCE(p[4]));
	return 0;
}

/* Several, for a stale word on a stack may still point at one. */
static int leak(void)
{
	int i;

	for (i = 0; i < 32; i++)
		if (!kmalloc(1000, GFP_KERNEL))
			return -ENOMEM;
	return 0;
}

static int lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
	return 0;
}

static int sleep_in_atomic(void)
{
	spin_lock(&spin);
	mutex_lock(&first);
	mutex_unlock(&first);
	spin_unlock(&spin);
	return 0;
}

static int wait_for_ever(void *unused)
{
	wait_for_completion(&never);
	return 0;
}

static int hang(void)
{
	return PTR_ERR_OR_ZERO(kthread_run(wait_for_ever, NULL, "faulty"));
}

static int nothing(void)
{
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(void);
} faults[] = {
	{ "use-after-free", use_after_free },
	{ "leak", leak },
	{ "lock-order", lock_order },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "hang", hang },
	{ "nothing", nothing },
};

static ssize_t fault_write(struct file *filp, const char __user *buf, size_t len, loff_t *pos)
{
	char name[32] = "";
	int i, ret = -EINVAL;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buf, len))
		return -EFAULT;
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		if (!strcmp(strim(name), faults[i].name))
			ret = faults[i].fn();
	return ret ? ret : len;
}

static const struct file_operations fault_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = fault_write,
};

static int __init faulty_init(void)
{
	file = debugfs_create_file("faulty", 0200, NULL, NULL, &fault_fops);
	return 0;
}

static void __exit faulty_exit(void)
{
	debugfs_remove(file);
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_DESCRIPTION("faults for kernel checkers to find");
MODULE_LICENSE("GPL");
