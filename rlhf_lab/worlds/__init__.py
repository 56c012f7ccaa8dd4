"""What is acted in: languages with rewards, grids and games, each with a known answer; docstrings name the trap.

People and their opinions stand in `feedback`; whatever learns stands in `methods`.
"""
