# SPDX-License-Identifier: Apache-2.0
"""Linux 7.2's PRECOPY_INFOv2: a device whose initial data appears anew while it is pre-copied gets its rounds afresh, within
bounds. The simulated host plays it (`renew`); no kernel that Debian 12 runs has it."""
import re
import subprocess

import pytest

from moves import M, assert_moved, assert_whole, explain
from processes import LIMIT, binary
from stack import Stack

ROUNDS = 2
RENEWALS_MAX = 8  # agent/worker_send.c


def renewed(host, device):
    said = subprocess.run([binary("lockstep-simhost"), "counters", host.path("hw"), device], check=True, capture_output=True,
                          text=True, timeout=LIMIT).stdout
    return int(re.search(r"renewed=(\d+)", said)[1])


@pytest.mark.parametrize("times", [3, 1000000])
def test_initial_data_that_appears_anew_gives_that_device_its_rounds_again(times):
    with Stack(types=("full", "full")) as stack:
        stack.boot()
        stack.a.debug("a0", f"renew {times}")
        spec = stack.spec(hold=[M.GATE_BEFORE_PAUSE], precopy=M.PrecopyPolicy(max_rounds=ROUNDS, rest_bytes=1))
        stack.begin(spec)
        least = {"a0": min(times + 1, RENEWALS_MAX + ROUNDS), "a1": 1}
        held = stack.until(spec, lambda m: m.waiting_at == M.GATE_BEFORE_PAUSE and
                           all(d.rounds >= least[d.name] for d in m.device))
        assert held.waiting_at == M.GATE_BEFORE_PAUSE, explain(held)
        rounds = {device.name: device.rounds for device in held.device}
        # Control: its neighbour, which is as on other kernels.
        assert renewed(stack.a, "a1") == 0 and 1 <= rounds["a1"] <= ROUNDS, rounds
        # One to begin with, one for each renewal, then as many as anyone gets. One that found nothing to send does not
        # count.
        assert rounds["a0"] >= least["a0"], rounds
        if times <= RENEWALS_MAX:
            assert renewed(stack.a, "a0") == times, rounds
        else:
            # A device that never has enough is not waited for.
            assert RENEWALS_MAX + ROUNDS <= renewed(stack.a, "a0") < times, rounds
        stack.api.Release(M.ReleaseRequest(id=spec.id, gate=M.GATE_BEFORE_PAUSE, actor="test"))
        assert_moved(stack.finish(spec))
        assert_whole(stack.b.verify())
