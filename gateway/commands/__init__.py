"""The commands of `towpath`. `gateway.cli` parses the arguments and prints the errors."""
