"""What each command of `python -m batch` does. `batch.__main__` reads the arguments and prints the errors."""
