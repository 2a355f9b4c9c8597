"""OpenTelemetry: names, attributes, contexts, and the shield around what others call.

Every package may import it. It knows nothing of PyMongo.
"""
