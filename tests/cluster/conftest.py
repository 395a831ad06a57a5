"""What tests of the harness have in common lies beside them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "bench"))
