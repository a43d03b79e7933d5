"""The starter: the program that runs inside a job, starts the app, and reports its state to the hub.

Owns the job's private folder, the app's process, the way in, and the reports to the hub (docs/architecture.md). Does
not know schedulers, user records or routes.

It is sent to nodes as one file, which `batch.bundle` makes of these modules. Rules for them: the standard library
alone, Python 3.6 or newer, no import of anything else in `batch`. A module that is imported costs every start:
`json`, `socket`, `signal` and `subprocess` take more CPU (10 to 16 ms each) than the interpreter itself (8 ms), so
their C halves are used directly. What only some jobs need is imported where it is needed.
"""
