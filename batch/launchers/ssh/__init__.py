"""The `ssh` cluster: hosts without a scheduler, reached by SSH.

factory     puts it together from the configuration
launcher    the contract's verbs
placement   which host, and which of its GPUs (pure)
hosts       what is known of each host, and requests to it
views       from what a host says about a job to a JobView (pure)
remote/     the program that runs on a host for one request
"""
