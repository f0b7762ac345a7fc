"""The same networks by this project and by PyTorch, in turn: see `__main__`."""
