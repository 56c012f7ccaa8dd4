"""A tiny GPT from nothing to each kind of alignment, beside the known optimum."""
