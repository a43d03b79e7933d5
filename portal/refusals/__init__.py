"""From an error to an answer: a page for a browser, JSON for a program."""
