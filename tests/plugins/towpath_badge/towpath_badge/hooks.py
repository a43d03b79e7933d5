"""The hook: it runs in a process of its own (`batch.hooks`)."""

from batch.hooks.contract import HookChanges, JobChanges


def hand_over(options, event):
    print("this is not the answer")
    if event.event != "before-submit":
        return None
    if event.user == "broke":
        return HookChanges(refuse="Your allocation is used up.", hint="Ask for more.")
    return HookChanges(job=JobChanges(environment={options.variable: event.auth_state["access_token"]}))
