# SPDX-License-Identifier: Apache-2.0
"""Tests of the stack, run against emulated hosts: same bodies as in tests/integration, other hosts."""
import functools
import os
import sys

import pytest

sys.dont_write_bytecode = True
_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.join(os.path.dirname(_HERE), "integration")]
import test_guest_reset  # noqa: E402
import test_move  # noqa: E402
import test_move_controls  # noqa: E402
import test_move_failures  # noqa: E402
from guests import Guests, GuestStack  # noqa: E402


@pytest.fixture(scope="session", name="guests")
def booted_guests():
    guests = Guests(os.environ.get("LOCKSTEP_KERNEL", "6.12"))
    yield guests
    guests.end()


@pytest.fixture(autouse=True)
def in_guests(guests, monkeypatch):
    for module in (test_move, test_move_controls, test_move_failures, test_guest_reset):
        monkeypatch.setattr(module, "Stack", functools.partial(GuestStack, guests))
    many = os.environ.get("LOCKSTEP_TEST_MODE") == "full"
    monkeypatch.setattr(test_move, "TEN", 10 if many else 2)
    monkeypatch.setattr(test_move_controls, "MOVES", 20 if many else 3)
    monkeypatch.setattr(test_guest_reset, "MOVES", 40 if many else 6)
