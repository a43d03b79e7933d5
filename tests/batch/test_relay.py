"""The starter's relay: connections that an app does not accept at once."""

import os
import socket
import threading
import time

from batch.starter.relay import Loop, connect


def test_a_connection_waits_for_room_in_the_apps_queue(short_folder):
    """The app allows one connection that it has not accepted (listen(2)): the others fail with EAGAIN at first."""
    path = short_folder / f"relay-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.settimeout(30)
        listener.listen(0)
        waiting, alive = os.pipe()
        loop, made = Loop(waiting), []
        for _ in range(8):
            connect(loop, socket.AF_UNIX, str(path), made.append)
        early = len(made)
        thread = threading.Thread(target=loop.run)
        thread.start()
        accepted = [listener.accept()[0] for _ in range(8)]
        end = time.monotonic() + 30
        while len(made) < 8 and time.monotonic() < end:
            time.sleep(0.01)
        os.close(alive)
        thread.join()
        os.close(waiting)
        for sock in (*accepted, *filter(None, made)):
            sock.close()
    path.unlink()
    assert early < 8
    assert len(made) == 8
    assert None not in made
