#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench_devices.py: the blackout of a move with 1, 2, 4 and 8 devices, on simulated hosts whose arcs take 20 ms each. Steps run
in parallel, so it should hardly grow; one device after the other it would grow in proportion. Ratios, not seconds."""
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
from moves import assert_moved, assert_whole  # noqa: E402
from stack import Stack  # noqa: E402

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3


def blackout(devices):
    times = []
    with Stack(types=["full"] * devices, latency_ms=20) as stack:
        stack.boot()
        here, there = stack.a, stack.b
        for _ in range(ROUNDS):
            migration = stack.move(here, there)
            assert_moved(migration)
            times.append(migration.blackout.total_ms)
            stack.turn(there, here)
            here, there = there, here
        assert_whole(here.verify())
    return statistics.median(times)


base = None
print("devices  blackout   ratio   one after the other")
for count in (1, 2, 4, 8):
    took = blackout(count)
    base = base or took
    print(f"{count:7}  {took:6.1f} ms  {took / base:6.2f}  {count:6.2f}")
