"""From a server's choices to a JobSpec."""
