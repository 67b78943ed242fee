# SPDX-License-Identifier: Apache-2.0
"""Where the programs are: LOCKSTEP_BUILD, by default build/ at the top of the repository."""
import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from processes import build_dir  # noqa: E402

os.environ.setdefault("LOCKSTEP_BIN", os.path.join(build_dir(), "tests", "integration"))


@pytest.fixture
def c(tmp_path):
    """lockstepd with two fake agents."""
    from coord_support import Coordinator  # takes stock grpcio, which not every test here needs

    coordinator = Coordinator(str(tmp_path))
    yield coordinator
    coordinator.close()
