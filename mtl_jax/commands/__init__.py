"""What `main.py` and `mtl` do: a function with arguments for each command.

Besides `serving` the one room that sees both halves. The input pipeline, and with it TensorFlow, is
imported inside functions: importing this package loads neither.
"""
