"""Arrays: kernels with their gradients, optimisers, checks of what is given, files.

Nothing here knows a model, a world or a person.
"""
