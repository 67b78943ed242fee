# SPDX-License-Identifier: Apache-2.0
"""What the simulation promises of itself: a seed is one run, a failing one is shrunk, and too little coverage fails."""
import re
import subprocess

import pytest

from processes import build_dir

LIMIT = 120


def sim(*argv):
    return subprocess.run([f"{build_dir()}/tests/sim/lockstep-sim", *map(str, argv)], capture_output=True, text=True,
                          timeout=LIMIT)


def controls():
    if sim("--control", "rule-1", "--seeds", 1).returncode == 2:
        pytest.skip("controls are not compiled in")


@pytest.mark.parametrize("seed", (3, 141, 2024))
def test_a_seed_is_one_run_told_line_by_line(seed):
    first, again, other = sim("--seed", seed), sim("--seed", seed), sim("--seed", seed + 1)
    assert first.returncode == 0 and first.stdout.count("\n") > 20, first
    assert first.stdout == again.stdout != other.stdout
    assert all(re.match(r" *[0-9]+\.[0-9]{3} ms  \S", line) for line in first.stdout.splitlines()), first.stdout


def test_it_does_not_matter_how_many_work_at_it():
    one, two = sim("--seeds", 200, "--jobs", 1), sim("--seeds", 200, "--jobs", 2)
    assert one.returncode == two.returncode == 0 and one.stdout == two.stdout


def test_what_was_met_too_rarely_fails_by_name():
    done = sim("--seeds", 50, "--least", 100)
    assert done.returncode == 1, done
    assert "cancel was met" in done.stdout and "an event came up too rarely" in done.stdout


def test_a_failing_seed_is_shrunk_to_what_breaks_the_same_promise():
    controls()
    before = after = 0
    for control in ("rule-6", "rule-9", "rule-10"):
        done = sim("--seeds", 5000, "--jobs", 2, "--control", control, "--shrink", 1)
        assert done.returncode == 0, done
        seed, promise = re.search(r"caught by seed (\d+): (\S+):", done.stdout).groups()
        whole = sim("--control", control, "--seed", seed)
        assert whole.returncode == 1 and f"VIOLATION of {promise}:" in whole.stdout
        shrunk = re.search(r"shrunk to (\d+) devices and (\d+) faults:(.*)\n  (\S+):", done.stdout)
        assert shrunk and shrunk[4] == promise and f"VIOLATION of {promise}:" in done.stdout, done.stdout[:2000]
        assert done.stdout.count("FAULT ") == int(shrunk[2]) == len(shrunk[3].split()), done.stdout[:2000]
        before += whole.stdout.count("FAULT ")
        after += int(shrunk[2])
    assert 0 < after < before, (before, after)
