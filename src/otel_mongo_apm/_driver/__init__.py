"""PyMongo: its versions, its private names, its documents, and how its methods are wrapped.

`_metrics` and the packages above it may import it. No other package uses private names of PyMongo.
"""
