"""How a policy is improved: a module a subject, its functions in the order of its chapter's equations.

No plots, no files, no long studies; a method uses another only where the mathematics does.
"""
