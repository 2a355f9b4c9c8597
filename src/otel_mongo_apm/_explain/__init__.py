"""Why a command was slow: asks the server for the plan of its query.

`_pools` and the packages above it may import it.
"""
