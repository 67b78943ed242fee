// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fault.h"

// What a child with this environment does with the point; its wait status. The log's text goes to `log`.
static int child(const char *fault, void (*body)(void), char *log, size_t size)
{
	char path[] = "/tmp/fault-XXXXXX";
	int fd = mkstemp(path), status;
	pid_t pid;

	assert_true(fd >= 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct ls_error err;
		setenv("LOCKSTEP_FAULT", fault, 1);
		setenv("LOCKSTEP_FAULT_LOG", path, 1);
		if (ls_fault_init("agent", &err) < 0)
			_exit(2);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	if (WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	ssize_t n = read(fd, log, size - 1);
	log[n > 0 ? n : 0] = '\0';
	close(fd);
	unlink(path);
	return status;
}

static void pass_three_times(void)
{
	for (int i = 0; i < 3; i++)
		ls_fault_of(agent_word_known, "CONSENTED");
}

static void fail_the_second_write(void)
{
	struct ls_error err = { 0 };

	if (ls_fault_fail(agent_ledger_before, "COMMITTED", LS_E_LEDGER, &err) != 0)
		_exit(10);
	if (ls_fault_fail(agent_ledger_before, "COMMITTED", LS_E_LEDGER, &err) != -ENOSPC || err.err != ENOSPC)
		_exit(11);
	if (ls_fault_fail(agent_ledger_before, "STARTED", LS_E_LEDGER, &err) != 0)
		_exit(12);
}

static void pass_with_a_variant_of_nobody(void)
{
	signal(SIGABRT, SIG_DFL);
	ls_fault_of(agent_word_known, "MAYBE");
}

static void off_means_nothing_at_all(void **state)
{
	assert_false(ls_fault_on);
	assert_int_equal(ls_fault(agent_peer_up), 0);
}

static void each_action_at_its_pass(void **state)
{
	char log[500];
	int status = child("agent.word.known.CONSENTED#2=kill", pass_three_times, log, sizeof(log));

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_string_equal(log, "agent.word.known.CONSENTED #1 pass\nagent.word.known.CONSENTED #2 kill\n");
	status = child("agent.word.known.CONSENTED=stop", pass_three_times, log, sizeof(log));
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	status = child("agent.word.known.CONSENTED#3=exit", pass_three_times, log, sizeof(log));
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	status = child("agent.word.known.CONSENTED=delay:1", pass_three_times, log, sizeof(log));
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_non_null(strstr(log, "#1 delay\n"));
	status = child("agent.ledger.before.COMMITTED#2=error:ENOSPC", fail_the_second_write, log, sizeof(log));
	assert_int_equal(status, 0);
	status = child("agent.word.known.RETURNED=kill", pass_with_a_variant_of_nobody, log, sizeof(log));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void what_does_not_exist_is_refused_in_one_sentence(void **state)
{
	static const struct {
		const char *fault, *says;
	} bad[] = {
		{ "agent.nowhere=kill", "no fault point \"agent.nowhere\"" },
		{ "agent.word.known=kill", "no fault point \"agent.word.known\"" },
		{ "coordinator.plan.before=kill", "no fault point" },
		{ "agent.peer.up", "is not NAME[#N]=ACTION" },
		{ ",", "is not NAME[#N]=ACTION" },
		{ "agent.peer.up#0=kill", "#N wants 1" },
		{ "agent.peer.up#x=kill", "#N wants 1" },
		{ "agent.peer.up=explode", "kill, stop, exit" },
		{ "agent.peer.up=kill:1", "kill, stop, exit" },
		{ "agent.peer.up=delay", "kill, stop, exit" },
		{ "agent.peer.up=delay:-1", "kill, stop, exit" },
		{ "agent.ledger.before.ACTIVE=error:EWHAT", "kill, stop, exit" },
		{ "agent.peer.up=error:EIO", "agent.peer.up cannot fail" },
		{ "agent.peer.up=kill,agent.nowhere=kill", "no fault point" },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ls_error err;
		setenv("LOCKSTEP_FAULT", bad[i].fault, 1);
		assert_true(ls_fault_init("agent", &err) < 0);
		assert_int_equal(err.reason, LS_E_CONFIG);
		if (!strstr(err.message, bad[i].says))
			fail_msg("%s: %s", bad[i].fault, err.message);
	}
	assert_false(ls_fault_on);
	unsetenv("LOCKSTEP_FAULT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(off_means_nothing_at_all),
		cmocka_unit_test(each_action_at_its_pass),
		cmocka_unit_test(what_does_not_exist_is_refused_in_one_sentence),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
