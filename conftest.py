"""Settings that the kernels of the notebooks inherit, whichever folder pytest starts with."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars stay out of compared outputs
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment, not of the user's home


def pytest_configure(config):
    """Let kernels start soon, and once more if one died at once: its ports were free when chosen, and taken then."""
    if getattr(config.option, "nbval", False):
        from nbval import kernel

        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each kernel would compile all that it imports: 2 seconds

        start = kernel.start_new_kernel

        def start_again(*args, **options):
            try:
                return start(*args, **options)
            except RuntimeError:
                return start(*args, **options)

        kernel.start_new_kernel = start_again
