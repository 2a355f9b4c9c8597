"""How a client comes to be instrumented, and how that ends; puts each client's listeners together.

`__init__` and `_doctor` may import it. It is the only package that knows all listeners.
"""
