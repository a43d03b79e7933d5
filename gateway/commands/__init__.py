"""What each command of `towpath` does; `gateway.cli` reads the arguments and prints the errors."""
