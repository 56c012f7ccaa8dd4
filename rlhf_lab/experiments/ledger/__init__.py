"""The ledger: every claim of the five sources that can be measured, with what was found here and a verdict.

Each source has a module. A verdict is made of numbers by `claims`; nobody types it in.
"""
