# SPDX-License-Identifier: Apache-2.0
"""The whole of lockstep, between consent and the end, with an operator who decides: hosts that were fenced and hosts that
were not, destinations that lost what they had loaded, ledgers that were replaced."""
import glob
import json
import os
import re
import signal
import subprocess
import time

import pytest

import messages
from frames import Proxy
from moves import assert_whole, explain
from processes import LIMIT, binary
from stack import Stack

M = messages.migration
FENCE = ("return-fenced", "--method", "processes-killed", "--evidence", "killed by hand, seen in ps", "--yes")
BEFORE_COMMIT, COMMITTED = "agent.ledger.before.COMMITTED", "agent.ledger.commit.COMMITTED"


class Stuck:
    """A migration whose source has consented, and whose destination's agent was struck at `point`."""

    def __init__(self, point, action):
        self.stack = Stack(types=("p2p", "full"), rate=2000, latency_ms=1)
        # The coordinator reaches the destination through here, so that cutting it off takes no time to notice.
        self.proxy = Proxy(self.stack.b.listen)
        self.stack.b.reached_at = self.proxy.address
        self.point, self.action = point, action

    def __enter__(self):
        stack = self.stack
        try:
            for host in (stack.a, stack.b):
                host.start_simhost()
            stack.a.start_agent()
            stack.b.start_agent(LOCKSTEP_FAULT=f"{self.point}={self.action}")
            stack.start_coordinator()
            stack.boot()
            self.spec = stack.spec()
            stack.begin(self.spec)
            stack.a.agent.expect_log("word=CONSENTED")
            if self.action == "kill":
                stack.b.agent.wait()
            else:
                os.waitid(os.P_PID, stack.b.agent.pid, os.WSTOPPED | os.WNOWAIT)
                self.proxy.cut()
        except BaseException:
            self.__exit__(True, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        self.proxy.close()
        stack = self.stack
        if not kind:
            assert not stack.complaints(), stack.tails()
        for host in (stack.a, stack.b):   # one that waits for an operator would not end by itself
            for process in (host.agent, host.vmm):
                if process:
                    process.kill()
        stack.__exit__(kind, value, trace)

    # ---- the operator ----

    def resolve(self, *args):
        return self.stack.ctl("resolve", self.spec.id, *args)

    def known(self):
        done = self.resolve()
        assert done.returncode == 0, done
        assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
        return done.stdout

    def decide(self, action, *args):
        """As soon as the coordinator says that it may be done: it hears of what happened when it asks next."""
        end = time.monotonic() + LIMIT
        while action not in self.known().partition("Not now")[0]:
            assert time.monotonic() < end, self.known()
        done = self.resolve(action, *args)
        assert done.returncode == 0, done
        return done.stdout

    def status(self):
        return self.stack.ctl("status", self.spec.id)

    def until(self, condition):
        """As `condition` wants it; OPERATOR ends a watch, and may be left again."""
        while True:
            seen = self.stack.until(self.spec, condition)
            if condition(seen):
                return seen
            assert seen.phase == M.PHASE_OPERATOR, explain(seen)

    def runs_at(self, host):
        host.wait("running")
        assert_whole(host.verify())


def state(host):
    return json.loads(host.ask("status"))["state"]


def flat(text):
    """Without the line breaks of 80 columns."""
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_fenced_destination_gives_the_vm_back(action):
    with Stuck(BEFORE_COMMIT, action) as stuck:
        stack = stuck.stack
        stack.b.vmm.popen.send_signal(signal.SIGKILL if action == "kill" else signal.SIGSTOP)
        assert state(stack.a) == "paused"   # and stays so until somebody decides
        stack.coordinator.expect_log("side=destination")
        for process in (stack.b.agent, stack.b.vmm):
            process.kill()                  # the fence: now the claim is true
        text = flat(stuck.decide(*FENCE))
        assert "source host-a: CONSENTED, it has given away its right to resume the VM, and keeps it stopped" in text
        assert re.search(r"destination host-b: UNDECIDED, nothing is decided there; its agent has not answered since "
                         r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text), text
        assert "you vouch: killed by hand, seen in ps" in text
        stuck.runs_at(stack.a)
        view = stuck.until(lambda m: m.source_word == "RETURNED")
        assert [(c.host, c.evidence) for c in view.claim] == [("host-b", "killed by hand, seen in ps")]


def test_a_fenced_destination_that_comes_back_gives_up():
    with Stuck(BEFORE_COMMIT, "kill") as stuck:
        stack = stuck.stack
        stack.b.vmm.kill()
        stuck.decide(*FENCE)
        stuck.runs_at(stack.a)
        stack.b.start_agent()
        view = stuck.until(lambda m: m.phase == M.PHASE_RETURNED)
        assert (view.source_word, view.destination_word) == ("RETURNED", "ABORTED"), explain(view)
        assert stuck.status().returncode == 1


def test_a_false_fence_ends_in_conflict_on_both_sides():
    """The destination had decided and was only frozen: somebody vouched for what was not so."""
    with Stuck(COMMITTED, "stop") as stuck:
        stack = stuck.stack
        stuck.decide(*FENCE)
        stuck.runs_at(stack.a)
        stack.b.agent.popen.send_signal(signal.SIGCONT)   # it thaws, and can be reached again
        stuck.proxy.mend()
        view = stuck.until(lambda m: m.error.reason == "CONFLICT")
        assert view.phase == M.PHASE_OPERATOR and "fence was false" in view.error.message, explain(view)
        done = stuck.status()
        assert done.returncode == 4 and "CONFLICT" in done.stdout and "fence was false" in flat(done.stdout), done
        assert re.search(r"Words: source RETURN(ING|ED), destination (COMMITTED|STARTED)\n", done.stdout), done.stdout
        for agent in (stack.a, stack.b):
            agent.agent.expect_log("CONFLICT")
        assert state(stack.a) == "running"   # nothing was let go
        text = flat(stuck.known())
        assert "claimed that host-b was fenced (processes killed): killed by hand, seen in ps" in text, text
        done = stuck.resolve("close", "--yes")
        assert done.returncode == 0, done
        view = stack.api.Get(M.GetRequest(id=stuck.spec.id), timeout=LIMIT)
        assert view.closed_by and view.error.reason == "CONFLICT", explain(view)


def test_what_the_destination_lost_after_the_commit_returns():
    with Stuck(COMMITTED, "kill") as stuck:
        stack = stuck.stack
        stack.b.vmm.kill()                  # nobody keeps the devices' descriptors any more
        stack.b.start_agent()
        stack.b.start_vmm(incoming=True)
        view = stuck.until(lambda m: m.phase == M.PHASE_OPERATOR)
        assert view.error.reason == "LOST_AFTER_COMMIT", explain(view)   # of either host: who is heard first
        assert state(stack.a) == "paused"
        text = stuck.decide("return-lost", "--yes")   # the source hears it from the destination itself
        assert "destination host-b: LOST_AFTER_COMMIT, it had decided to run the VM" in flat(text), text
        stuck.runs_at(stack.a)
        view = stuck.until(lambda m: m.phase == M.PHASE_RETURNED)
        assert view.source_word == "RETURNED", explain(view)


def replace_ledger(host):
    for path in glob.glob(host.path("ledger.db") + "*"):
        os.remove(path)
    host.start_agent()


def test_a_destination_with_another_ledger_is_fenced_before_the_vm_returns():
    with Stuck(BEFORE_COMMIT, "kill") as stuck:
        stack = stuck.stack
        stack.b.vmm.kill()
        replace_ledger(stack.b)
        view = stuck.until(lambda m: m.error.reason == "LEDGER_LOST")
        assert view.phase == M.PHASE_OPERATOR and view.error.host == "host-b", explain(view)
        assert state(stack.a) == "paused"
        assert "its ledger is another by now" in flat(stuck.known())
        stuck.decide(*FENCE)
        stuck.runs_at(stack.a)


def test_a_source_with_another_ledger_is_closed():
    """Its VM is there, stopped, and nothing says to whom it belongs: only the record can be closed."""
    with Stack(types=("p2p", "full"), rate=2000, latency_ms=1) as stack:
        stack.boot()
        spec = stack.spec(hold=[M.GATE_BEFORE_PAUSE])
        stack.begin(spec)
        stack.until(spec, lambda m: m.waiting_at == M.GATE_BEFORE_PAUSE)
        stack.a.agent.kill()
        replace_ledger(stack.a)
        view = stack.finish(spec)
        assert view.phase == M.PHASE_OPERATOR and view.error.reason == "LEDGER_LOST", explain(view)
        done = stack.ctl("resolve", spec.id, "close", "--yes")
        assert done.returncode == 0, done
        assert stack.api.Get(M.GetRequest(id=spec.id), timeout=LIMIT).closed_by
        stack.a.wait("running")
        for host in (stack.a, stack.b):
            host.agent.kill()


def test_show_on_the_host_itself_tells_the_claim():
    with Stuck(BEFORE_COMMIT, "kill") as stuck:
        stack = stuck.stack
        stack.b.vmm.kill()
        stuck.decide(*FENCE)
        stuck.runs_at(stack.a)
        shown = subprocess.run([binary("lockstep-agent"), "show", "--config", stack.folder("a-agent.conf")],
                               capture_output=True, text=True, timeout=LIMIT, check=True).stdout
        assert "(processes-killed): killed by hand, seen in ps" in " ".join(shown.split()), shown


def test_a_destination_whose_vmm_dies_after_the_commit_is_told_at_once():
    with Stuck(COMMITTED, "stop") as stuck:
        stack = stuck.stack
        stack.b.vmm.kill()
        began = time.monotonic()
        stack.b.agent.popen.send_signal(signal.SIGCONT)
        stuck.proxy.mend()
        view = stuck.until(lambda m: m.phase == M.PHASE_OPERATOR)
        assert view.error.reason in ("LOST_AFTER_COMMIT", "VMM_FAILED") and view.error.host == "host-b", explain(view)
        assert time.monotonic() - began < 20   # half a minute is what a silent agent is given
        assert state(stack.a) == "paused"      # whose the VM is, is decided: it does not return by itself
