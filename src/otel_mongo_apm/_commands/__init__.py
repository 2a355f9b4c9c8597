"""Commands: one span and its measurements for each, and the text of the query.

`_pools` and the packages above it may import it.
"""
