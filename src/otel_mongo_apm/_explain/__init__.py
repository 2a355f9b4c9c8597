"""Why a command was slow: the plan of its query, asked of the server afterwards.

`_pools` and the packages above it may import it.
"""
