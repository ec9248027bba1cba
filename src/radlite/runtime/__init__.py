"""Things that complete a prompt."""

import os

# The threads of an engine wait for each other at every matrix. GNU OpenMP lets them wait awake, for milliseconds: where
# another process has one of the cores, the awake ones keep the late one from it, and all fall to a tenth of their pace
# or less. It reads this once, when its library is loaded, which the engines do after this.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
