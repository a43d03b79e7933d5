"""The launcher for the hub's own machine.

kind            the options, and what follows from them
factory         puts it together: servers under the hub's account, or under their users'

launcher        under the hub's account: folder, forks, forkserver, stops, takeover
users_launcher  under the users' accounts, as on an `ssh` host (`batch.launchers.ssh`)
account_hosts   requests to this machine, by processes of the users' accounts
become          the change of account: setuid, or sudo with towpath_run
limits, cgroups what a server may use: systemd scopes, control groups
"""
