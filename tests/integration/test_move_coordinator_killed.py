# SPDX-License-Identifier: Apache-2.0
"""The whole of lockstep: the coordinator is killed at each phase of a move and starts again with its store, with an empty
one, or with an older copy. The move ends properly each time, and the VM is whole on one host."""
import glob
import os
import shutil
import subprocess

import grpc
import pytest

import messages
from moves import assert_moved, assert_whole, explain
from processes import LIMIT, binary
from stack import Stack

M = messages.migration
TYPES = ("p2p", "full")
STORES = ("same", "empty", "older")


def remove_store(stack):
    for path in glob.glob(stack.folder("store.db") + "*"):
        os.remove(path)


def back_up(stack):
    copy = stack.folder("copy.db")
    subprocess.run([binary("lockstepd"), "backup", copy, "--config", stack.folder("lockstepd.conf")], check=True,
                   timeout=LIMIT, capture_output=True)
    return copy


def restart_coordinator(stack, store, copy):
    if store != "same":
        remove_store(stack)
    if store == "older":
        shutil.copy(copy, stack.folder("store.db"))
    stack.start_coordinator()
    if stack._channel:
        stack._channel.close()
    # Not the closed one's connection, nor its pauses before a new one.
    stack._channel = grpc.insecure_channel(stack.address, [("grpc.use_local_subchannel_pool", 1)])


def get(stack, spec):
    try:
        return stack.api.Get(M.GetRequest(id=spec.id), timeout=LIMIT)
    except grpc.RpcError as e:
        assert e.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE), e
        return None


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("gate", ["GATE_BEFORE_PAUSE", "GATE_STOPPED", "GATE_DECIDE"])
def test_killed_while_a_gate_is_held(gate, store):
    gate = M.Gate.Value(gate)
    with Stack(types=TYPES) as stack:
        stack.boot()
        spec = stack.spec(hold=[M.GATE_BEFORE_PAUSE] + ([gate] if gate != M.GATE_BEFORE_PAUSE else []))
        copy = None
        stack.begin(spec)
        stack.until(spec, lambda m: m.waiting_at == M.GATE_BEFORE_PAUSE)
        if store == "older":
            copy = back_up(stack)
        if gate != M.GATE_BEFORE_PAUSE:
            stack.api.Release(M.ReleaseRequest(id=spec.id, gate=M.GATE_BEFORE_PAUSE, actor="test"), timeout=LIMIT)
            stack.until(spec, lambda m: m.waiting_at == gate)
        stack.coordinator.kill()
        restart_coordinator(stack, store, copy)
        if store == "empty":
            stack.coordinator.expect_log("migration.rebuilt")
        held = stack.until(spec, lambda m: m.waiting_at == gate)
        assert held.waiting_at == gate, explain(held)
        stack.api.Release(M.ReleaseRequest(id=spec.id, gate=gate, actor="test"), timeout=LIMIT)
        migration = stack.finish(spec)
        assert migration.phase == M.PHASE_DONE, explain(migration)
        if store == "same":
            assert_moved(migration)
        assert_whole(stack.b.verify())


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("record", ["created#1", "planned#1", "prepared#1", "prepared#2", "agent#1", "agent#12", "agent#40",
                                    "finished#1"])
def test_killed_when_a_record_is_durable(record, store):
    """What was acknowledged goes on; a start that was not acknowledged may be forgotten with an empty store."""
    with Stack(types=TYPES) as stack:
        stack.boot()
        copy = back_up(stack) if store == "older" else None
        stack.coordinator.stop()
        name, _, number = record.partition("#")
        stack.start_coordinator(LOCKSTEP_FAULT=f"coordinator.record.known.{name}#{number}=kill")
        spec = stack.spec()
        try:
            stack.begin(spec)
        except grpc.RpcError as e:
            assert e.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), e
        assert stack.coordinator.wait() == -9, stack.coordinator.tail()
        restart_coordinator(stack, store, copy)
        known = get(stack, spec)
        while known is None and any(open_moves(stack)):
            known = get(stack, spec)
        if known is None:
            # No agent holds it any more, or ever did: the store that knew how it went is lost. It is on one host.
            migration = None
        else:
            migration = stack.finish(spec)
            assert migration.phase in (M.PHASE_DONE, M.PHASE_RETURNED), explain(migration)
            assert store != "same" or migration.phase == M.PHASE_DONE, explain(migration)
        runs = [host for host in (stack.a, stack.b) if host.vmm.alive() and '"running"' in host.ask("status")]
        assert len(runs) == 1, stack.tails()
        if migration:
            assert runs == [stack.b if migration.phase == M.PHASE_DONE else stack.a], explain(migration)
        assert_whole(runs[0].verify())


def open_moves(stack):
    hosts = stack.api.ListHosts(M.ListHostsRequest(), timeout=LIMIT).host
    return [h.open_migrations for h in hosts]
