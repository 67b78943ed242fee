# SPDX-License-Identifier: Apache-2.0
"""The service manager that plays systemd, against a service of a few lines."""
import os
import signal

import pytest

from processes import Folder
from service_manager import Service
from stack import Stack

SERVICE = r"""
import array, os, signal, socket, sys
def notify(text, fds=()):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
n = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
names = os.environ.get("LISTEN_FDNAMES", "").split(":") if n else []
print("got", *(f"{name}={os.read(3 + i, 1).decode()}" for i, name in enumerate(names)), flush=True)
print("first" if os.environ.get("FIRST") else "later", flush=True)
keep = []
def store(name):
    r, w = os.pipe()
    os.write(w, name.encode() * 9)
    keep.append(w)
    os.set_inheritable(w, True)
    notify(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", [r])
for line in sys.stdin:
    word, *rest = line.split()
    if word == "store": store(rest[0])
    if word == "remove": notify(f"FDSTOREREMOVE=1\nFDNAME={rest[0]}")
    if word == "watchdog": notify("WATCHDOG=1")
    if word == "ready": notify("READY=1")
    if word == "child":
        if os.fork() == 0:
            store("c"); os._exit(0)
        os.wait()
    if word == "deaf": signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if word == "exit": os._exit(int(rest[0]))
    print("ok", *rest, flush=True)
"""


@pytest.fixture(name="service")
def make_service(request):
    folder = Folder()
    options = getattr(request, "param", {})
    service = Service("small", ["/usr/bin/python3", "-c", SERVICE], folder, first_env={"FIRST": "1"}, **options)
    service.start()
    service.process.expect("first")
    yield service
    service.close()
    service.process.kill()
    folder.remove()


def do(service, *lines):
    for line in lines:
        service.process.say(line)
        service.process.expect("ok")


def test_stored_fds_come_back_by_name_after_a_crash(service):
    do(service, "store x", "store y", "remove x", "store z", "ready")
    service.wait_ready()
    assert service.stored() == ["y", "z"]
    os.kill(service.process.pid, signal.SIGKILL)
    service.wait_starts(2)
    assert service.process.expect("got") == "got y=y z=z"
    service.process.expect("later")
    os.kill(service.process.pid, signal.SIGKILL)
    service.wait_starts(3)
    assert service.process.expect("got") == "got y=y z=z"


def test_a_good_end_is_not_repaired(service):
    service.process.say("exit 0")
    service.wait_for(lambda: service.status == 0, "end")
    assert service.starts == 1


def test_only_the_main_process_is_believed(service):
    do(service, "child", "store d")
    service.wait_for(lambda: service.stored(), "stored fd")
    assert service.stored() == ["d"]


@pytest.mark.parametrize("service", [{"watchdog_ms": 400}], indirect=True)
def test_a_frozen_service_is_ended_by_the_watchdog(service):
    do(service, "watchdog", "ready")
    service.wait_ready()
    first = service.process.pid
    os.kill(first, signal.SIGSTOP)
    service.wait_starts(2)
    assert service.process.pid != first
    assert ["(watchdog)"] in service.messages


@pytest.mark.parametrize("service", [{"restart": "no"}], indirect=True)
def test_a_service_that_does_not_end_in_time_is_killed_and_raised(service):
    do(service, "deaf")
    with pytest.raises(AssertionError, match="did not end within 0.1 s"):
        service.stop(limit=0.1)
    assert service.process.popen.returncode == -signal.SIGKILL


def test_a_stack_that_does_not_end_in_time_ends_whole_and_says_so():
    """One agent is not even asked to; the rest must not stay because of it."""
    stack = Stack(types=("p2p",), managed=True).start()
    stack.boot()
    stop = stack.a.agent_service.stop
    stack.a.agent_service.stop = lambda *_: stop(0, 0.1)
    with pytest.raises(AssertionError, match="agent-a did not end within 0.1 s"):
        stack.stop()
    assert [process.name for process in stack.processes if process.alive()] == []
    assert not os.path.exists(stack.folder.path)
