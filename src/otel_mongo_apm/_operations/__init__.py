"""The spans of `span_convention="mongodb"`: operations and transactions around the commands.

`_setup` and `_doctor` may import it.
"""
