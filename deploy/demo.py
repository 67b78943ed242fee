#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""demo.py guests|sim: the demonstration itself; demo.sh prepares what it needs."""
import os
import subprocess
import sys

_REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(_REPO, "tests", "integration"), os.path.join(_REPO, "tests", "kernel")]
from processes import binary  # noqa: E402
from stack import VM, Stack  # noqa: E402


def say(text):
    print(f"\n== {text}", flush=True)


def ctl(stack, *args):
    print(f"$ lockstepctl {' '.join(args)}", flush=True)
    return subprocess.run([binary("lockstepctl"), "--server", stack.address, *args], check=False).returncode


def demonstrate(stack):
    say("a VM on host-a: four devices, every pair writing to each other")
    stack.boot()
    if ctl(stack, "devices", "host-a"):
        return "host-a does not answer"
    say("dry run: nothing is touched")
    if ctl(stack, "dry-run", VM, "--from", "host-a", "--to", "host-b"):
        return "the dry run found a blocker"
    say("the move")
    if ctl(stack, "migrate", VM, "--from", "host-a", "--to", "host-b", "--id", "demo"):
        return "the move failed"
    say("at the destination: the ledger of writes, from the first to now")
    stack.b.wait("running")
    report = stack.b.verify()
    print(stack.b.ask("table"), end="")
    return None if report["ok"] else f"verification failed: {report}"


def emulated():
    """None: this machine cannot run them."""
    from guests import Guests, GuestStack
    say("two emulated hosts boot, each with a Linux kernel of its own")
    try:
        guests = Guests()
    except RuntimeError as e:
        if "does not start:" not in str(e):   # QEMU does not; a host whose kernel fails is no reason to look elsewhere
            raise
        print(f"{str(e).strip()}\nfalling back to simulated hosts (--sim): the emulated ones do not start, see above")
        return None, None
    return guests, GuestStack(guests)


def main(kind):
    guests, stack = emulated() if kind == "guests" else (None, None)
    if not stack:
        say("two simulated hosts on this machine")
        stack = Stack()
    with stack:
        problem = demonstrate(stack)
    if guests:
        guests.end()
        print("the kernel logs of both hosts are clean")
    if problem:
        say(f"FAILED: {problem}")
        return 1
    say("DONE: the VM runs on host-b; not one peer-to-peer write, DMA write\n"
        "   or interrupt was lost")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
