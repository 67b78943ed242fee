# SPDX-License-Identifier: Apache-2.0
"""Moves between two emulated hosts: a real kernel and our driver on each. The bodies are those of tests/integration."""
# pylint: disable=unused-import
from test_move import (test_four_devices_move_and_not_one_write_is_lost,  # noqa: F401
                       test_the_vm_goes_there_and_back_many_times_in_one_life)
from test_move_controls import (test_a_damaged_stream_never_starts_at_the_destination,  # noqa: F401
                                test_final_ram_sent_before_the_devices_stop, test_no_false_alarm,
                                test_the_quiesce_barrier_left_out, test_what_the_vmm_forgets)
from test_move_failures import (test_a_destination_that_refuses_the_image,  # noqa: F401
                                test_an_arc_that_fails_at_the_source, test_cancelled_at_a_gate)
