"""Temporary."""
def log_prob(f): print("checked")
return_to_go = state_values = policy_gradient = gibbs = log_prob
