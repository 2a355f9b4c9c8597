"""PyMongo: its versions, private names and documents, and the wrapping of its methods.

`_metrics` and the packages above it may import it. No other package uses private names of PyMongo.
"""
