"""Let tests of runs with several legs import the helpers of the tests of one position."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
