"""The destinations of the audit get each entry once, whatever happened to the file or the socket before."""

import os
import socket
import stat

import pytest

from batch.controller.audit_writer import File, Syslog, sinks
from state.config.tables import AuditConfig
from state.records.audit import Act, Entry, line


def entries(*numbers):
    return [Entry(time=float(number), act=Act.HUB, who="carol", id=f"{number}-0") for number in numbers]


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def written(*numbers):
    return [line(entry) for entry in entries(*numbers)]


def test_an_entry_that_the_file_has_is_not_written_again(tmp_path):
    path = tmp_path / "audit"
    File(str(path)).write(entries(1, 2, 3))
    File(str(path)).write(entries(2, 3, 4, 10))
    assert lines(path) == written(1, 2, 3, 4, 10)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("left", [b"", b"{", written(3)[0][:-1], written(3)[0][:20]])
def test_an_incomplete_last_line_is_replaced(tmp_path, left):
    path = tmp_path / "audit"
    path.write_bytes(b"".join(written(1, 2)) + left)
    File(str(path)).write(entries(2, 3, 4))
    assert lines(path) == written(1, 2, 3, 4)


def test_an_incomplete_line_on_its_own_is_replaced_too(tmp_path):
    path = tmp_path / "audit"
    path.write_bytes(b'{"id":"7-')
    File(str(path)).write(entries(3))
    assert lines(path) == written(3)


def test_only_the_end_of_a_long_file_is_read(tmp_path):
    path = tmp_path / "audit"
    path.write_bytes(b"".join(written(*range(5000))))
    File(str(path)).write(entries(4999, 5000))
    assert lines(path) == written(*range(5001))


def test_other_lines_in_the_file_stay(tmp_path):
    path = tmp_path / "audit"
    path.write_bytes(b"# a comment\n")
    File(str(path)).write(entries(1))
    assert lines(path) == [b"# a comment\n", *written(1)]


def test_a_link_or_a_pipe_is_not_written_to(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(OSError):
        File(str(tmp_path / "link")).write(entries(1))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        File(str(tmp_path / "pipe")).write(entries(1))
    assert elsewhere.read_bytes() == b""


def test_messages_are_sent_over_udp_and_to_a_socket(tmp_path):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix,
    ):
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "log"))
        for receiver, url in ((udp, f"udp://127.0.0.1:{udp.getsockname()[1]}"), (unix, f"unix://{tmp_path}/log")):
            receiver.settimeout(10)
            (sink,) = sinks(AuditConfig(syslog=url))
            sink.write(entries(1))
            message = receiver.recv(65536)
            assert message.startswith(b"<109>1 1970-01-01T00:00:01.000000Z ")
            assert b' id="1-0" act="hub" who="carol" ' in message
            sink.close()


def test_an_unavailable_socket_is_reported_and_retried(tmp_path):
    sink = Syslog(f"unix://{tmp_path}/log")
    with pytest.raises(OSError):
        sink.write(entries(1))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        unix.bind(str(tmp_path / "log"))
        unix.settimeout(10)
        sink.write(entries(2))
        assert b' id="2-0"' in unix.recv(65536)
    sink.close()
