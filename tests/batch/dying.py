"""A starter that is killed at a chosen step, once: the real one, with one line more."""

from pathlib import Path

from batch.bundle import assemble, starter_modules

STEPS = {
    "before the folder": ("starter", "            self.folder.make()\n"),
    "before the log": ("starter", "            self.log.open("),
    "before the start": ("starter", "            launch(self.app,"),
    "before the app is noted": ("starter", "            self.note_job()\n            if self.app.stop_signal"),
    "before the first probe": ("launch", "        if answers("),
    "before the ready word": ("starter", "        self.folder.write_report(ready)\n"),
    "before the ready report": ("starter", "            if not outbox.step(now)"),
    "while it stands by": ("starter", "                looks = ["),
}
"""Step → the module, and the line before which it dies."""
BEFORE_THE_APP = tuple(STEPS)[:3]


def dying(step: str, flag: Path, *, always: bool = False) -> dict[str, str]:
    """The starter's modules, by name: it kills itself at that step, and removes the flag, while the flag is there."""
    modules = dict(starter_modules())
    name, line = STEPS[step]
    text = modules[f"batch.starter.{name}"]
    assert text.count(line) == 1, (step, line)
    indent = line[: len(line) - len(line.lstrip())]
    remove = "" if always else f"__import__('os').unlink({str(flag)!r}) or "
    kill = f"{indent}__import__('os').path.exists({str(flag)!r}) and ({remove}__import__('os').kill(__import__('os').getpid(), 9))\n"
    modules[f"batch.starter.{name}"] = text.replace(line, kill + line)
    return modules


def program(step: str, flag: Path, *, always: bool = False) -> str:
    """The same as one file."""
    return assemble(dying(step, flag, always=always))


def killing_the_app(modules: dict[str, str]) -> dict[str, str]:
    """The same modules, but one that takes over an app kills it first, and waits until nothing of it is left."""
    line = "            self.address.adopt(self.app.pid)\n"
    text = modules["batch.starter.starter"]
    assert text.count(line) == 1
    kill = (
        "            os.kill(self.app.pid, 9)\n"
        "            while os.path.exists('/proc/%d/ns/net' % self.app.pid): time.sleep(0.01)\n"
    )
    return {**modules, "batch.starter.starter": text.replace(line, kill + line)}
