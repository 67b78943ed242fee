# SPDX-License-Identifier: Apache-2.0
"""What the tests of moves say about them."""
import messages
import order

M = messages.migration


def explain(migration):
    """A failed assertion's text: how the migration went."""
    return "\n".join([f"{migration.spec.id}: {M.Phase.Name(migration.phase)} {migration.error}".rstrip()] +
                     [f"  {d.name}: {d.error}" for d in migration.device if d.error.reason] +
                     [f"  {c.id} {c.device}: {c.seen}" for c in migration.check if c.result == M.Check.FAIL])


def assert_whole(report, at_least=1):
    """Nothing was lost, and there was something to lose."""
    assert report["ok"], "\n".join(report["errors"])
    for pair in report["pairs"]:
        assert pair["sent"] == pair["received"] and pair["first_missing"] == 0, pair
        assert pair["sent"] >= at_least, pair


def assert_in_order(migration):
    """K3 over the whole run, on both hosts."""
    for host in (migration.spec.source, migration.spec.destination):
        lines = order.arcs(migration, host, M)
        assert lines, f"no arcs of {host} were recorded"
        fresh = {}
        if host == migration.spec.destination:
            # Not touched by its VM until its image has been loaded.
            fresh = {name: max((arc.end for arc in line if arc.origin in order.DEAF and arc.target in order.DEAF),
                               default=line[0].end) for name, line in lines.items()}
        bad = order.violations(lines, fresh)
        assert not bad, f"{host}: {bad}"


def assert_moved(migration):
    assert migration.phase == M.PHASE_DONE, explain(migration)
    assert_in_order(migration)


def assert_returned(migration, reason=None):
    assert migration.phase == M.PHASE_RETURNED, explain(migration)
    if reason:
        assert migration.error.reason == reason, explain(migration)
    assert_in_order(migration)
