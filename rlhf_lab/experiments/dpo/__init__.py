"""DPO beside its remedies: asked online or offline, on networks, and what makes chosen answers fall."""
