# SPDX-License-Identifier: Apache-2.0
"""K5 with a real kernel: the guest resets one device of four while it is pre-copied, its engines at work."""
# pylint: disable=unused-import
from test_guest_reset import (test_all_four_reset_between_precopy_and_pause,  # noqa: F401
                              test_one_of_four_reset_between_precopy_and_pause,
                              test_reset_and_then_turned_back_the_vm_is_whole_at_the_source,
                              test_resets_at_any_moment_of_a_move)
