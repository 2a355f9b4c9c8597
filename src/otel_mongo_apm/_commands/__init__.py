"""Commands: one span and its measurements for each, and the text of the query.

`_explain` and the packages above it may import it.
"""
