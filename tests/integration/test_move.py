# SPDX-License-Identifier: Apache-2.0
"""All devices of a VM move together, and nothing of theirs is lost."""
import json

import frames
import messages
from moves import M, assert_moved, assert_whole, explain
from processes import sanitizer
from stack import Stack

TEN = 3 if sanitizer() else 10


def test_four_devices_move_and_not_one_write_is_lost():
    with Stack() as stack:
        stack.boot()
        assert_whole(stack.a.verify())
        migration = stack.move()
        assert_moved(migration)
        assert (migration.source_word, migration.destination_word) == ("RELEASED", "STARTED")
        assert_whole(stack.b.verify(), at_least=20)
        assert json.loads(stack.b.ask("status"))["state"] == "running"
        assert stack.a.vmm.wait() == 0, "the source's VMM should end when the VM is gone"
        parts = migration.blackout
        assert 0 < parts.total_ms < 60000
        assert parts.quiesce_ms >= stack.latency_ms, "the arcs' latency lies within the blackout"


def test_the_vm_goes_there_and_back_many_times_in_one_life():
    with Stack() as stack:
        stack.boot()
        here, there = stack.a, stack.b
        blackouts = []
        for _ in range(2 * TEN):
            migration = stack.move(here, there)
            assert_moved(migration)
            blackouts.append(round(migration.blackout.total_ms, 1))
            report = there.verify()
            assert_whole(report)
            stack.turn(there, here)
            here, there = there, here
        assert report["resumes"] == 2 * TEN
        print("blackouts, ms:", blackouts)


def test_two_vms_of_one_device_or_many_peers_need_no_special_case():
    with Stack(types=("full",)) as stack:
        stack.boot()
        assert_moved(stack.move())
        assert_whole(stack.b.verify())


def test_precopy_leaves_less_to_send_in_the_blackout():
    with Stack(types=("full", "full")) as stack:
        stack.boot()
        assert_moved(stack.move())
        assert_whole(stack.b.verify())
        stack.turn(stack.b, stack.a)
        migration = stack.move(stack.b, stack.a, precopy=M.PrecopyPolicy(skip=True))
        assert_moved(migration)
        assert not any(step.step.kind == M.STEP_PRECOPY for step in migration.step)
        assert_whole(stack.a.verify())


def test_stock_protobuf_reads_every_frame_between_the_agents():
    with Stack() as stack:
        proxy = frames.Proxy(stack.b.stream)
        stack.b.stream_as_told = proxy.address
        stack.coordinator.stop()
        stack.start_coordinator()
        stack.boot()
        assert_moved(stack.move())
        assert_whole(stack.b.verify())
        opened = {}
        for connection in proxy.connections:
            sent, answered = frames.decode(connection.to_server), frames.decode(connection.to_client)
            assert sent[0].WhichOneof("kind") == "open" and answered[0].WhichOneof("kind") == "opened"
            opened[sent[0].open.device] = (sent, answered)
        proxy.close()
        assert set(opened) == {"", *stack.b.devices}
        for device in stack.b.devices:
            sent, answered = opened[device]
            end = next(frame.end for frame in sent if frame.WhichOneof("kind") == "end")
            data = b"".join(frame.data for frame in sent if frame.data)
            assert len(data) == end.length > 0 and len(end.digest) == 16
            assert all(len(frame.data) <= 1 << 20 for frame in sent)
            assert answered[-1].WhichOneof("kind") == "loaded"
        control, answers = opened[""]
        blobs = [frame.blob for frame in control if frame.WhichOneof("kind") == "blob"]
        assert {blob.device for blob in blobs} == {"", *stack.b.devices}
        assert all(len(blob.content) > 0 and len(blob.digest) == 16 for blob in blobs)
        said = [frame.WhichOneof("kind") for frame in control + answers]
        for kind in ("blobs_end", "consent_request", "consent", "started"):
            assert kind in said, said
        consent = next(frame.consent for frame in control if frame.WhichOneof("kind") == "consent")
        assert (consent.vm, consent.destination_host) == ("vm1", "host-b")
        assert len(consent.device) == 4 and consent.destination_ledger_id


def test_the_cli_moves_a_vm_and_says_so():
    with Stack() as stack:
        stack.boot()
        dry = stack.ctl("dry-run", "vm1", "--from", "host-a", "--to", "host-b", "--output", "json")
        assert dry.returncode == 0, dry.stdout + dry.stderr
        assert json.loads(dry.stdout)["feasible"] is True
        done = stack.ctl("migrate", "vm1", "--from", "host-a", "--to", "host-b")
        assert done.returncode == 0, done.stdout + done.stderr
        assert_whole(stack.b.verify())
        listed = stack.ctl("list", "--output", "json")
        assert listed.returncode == 0 and "host-b" in listed.stdout


def test_starting_the_same_migration_twice_starts_it_once():
    import grpc
    import pytest
    with Stack() as stack:
        stack.boot()
        spec = stack.spec()
        stack.begin(spec)
        stack.begin(spec)
        migration = stack.finish(spec)
        assert_moved(migration)
        assert stack.begin(spec).phase == M.PHASE_DONE
        other = messages.migration.MigrationSpec()
        other.CopyFrom(spec)
        other.deadline_ms = 12345
        with pytest.raises(grpc.RpcError) as refused:
            stack.begin(other)
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS, explain(migration)
