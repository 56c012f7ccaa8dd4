"""Settings that the kernels of the notebooks inherit, whichever folder pytest starts with."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars stay out of compared outputs
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment, not of the user's home
