"""Speed against PyTorch and JAX on the same mathematics: `python -m benchmarks`."""
