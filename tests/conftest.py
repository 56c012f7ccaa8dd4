"""What every test needs: quiet progress bars, one thread, a backend without a screen."""

import matplotlib as mpl

mpl.use("Agg")
