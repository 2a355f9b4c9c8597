"""Connection pools: how many connections they have, how long callers wait, what fails.

`_waits` and the packages above it may import it.
"""
