# SPDX-License-Identifier: Apache-2.0
"""What becomes of a Prepare while something else of its host changes."""
import socket
import threading

import messages
from faultlog import FaultLog
from moves import M, explain
from processes import LIMIT
from stack import VM, Stack


def say_hello(host, incoming):
    """A VMM that says no more."""
    vmm = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    vmm.settimeout(LIMIT)
    vmm.connect(host.path("vmm"))
    vmm.send(messages.vmm.VmmMessage(hello=messages.vmm.VmmHello(vm=VM, protocol=1, incoming=incoming))
             .SerializeToString())
    return vmm


def test_a_vmm_that_takes_the_place_of_one_that_died_is_not_asked_for_what_that_one_lent():
    """Devices of one VMM and requests to another: the VM of neither would be moved."""
    changed = threading.Condition()
    with Stack() as stack:
        log = FaultLog(stack.folder("faults"), changed)
        stack.a.agent.stop()
        stack.a.start_agent(LOCKSTEP_FAULT="agent.ledger.before.ACTIVE=delay:3000", LOCKSTEP_FAULT_LOG=log.path)
        stack.boot()
        spec = stack.spec()
        stack.begin(spec)
        with changed:
            assert changed.wait_for(lambda: log.acted("agent.ledger.before.ACTIVE", 1), LIMIT)
        stack.a.vmm.kill()
        agent = stack.a.agent
        agent.expect_log("vmm.gone")
        before = len(agent.logs(""))
        with say_hello(stack.a, incoming=False) as other:
            agent.expect_log("vmm.hello", after=before)
            migration = stack.finish(spec)
            assert migration.phase in (M.PHASE_RETURNED, M.PHASE_OPERATOR), explain(migration)
            assert migration.error.reason == "VMM_FAILED", explain(migration)
            other.setblocking(False)
            try:
                asked = messages.vmm.VmmMessage.FromString(other.recv(1 << 17))
            except BlockingIOError:
                asked = None
            assert asked is None or asked.lend.probe, f"{asked} of a VMM that lent nothing"
            for host in (stack.a, stack.b):
                host.agent.kill()  # told to stop they would wait for what the other VMM may do
        log.close()
