"""Audits: hand over a loss, an advantage or a mask, and hear what is wrong with it."""
