"""The commands of `python -m batch`. `batch.__main__` reads the arguments and prints the errors."""
