"""Programs that tests and examples have in the background: a small web server is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from local_mongodb import HOST, eventually, free_port
from local_program import ProgramError, answers, serving, workspace

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVE = """
import signal, sys
sys.path.append(sys.argv[1])
from local_program import serving, workspace

command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", sys.argv[2]]
with workspace("web") as directory, serving(command, directory) as program:
    program.wait_for(f"http://127.0.0.1:{sys.argv[2]}/")
    print(directory, flush=True)
    signal.pause()
"""


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def url(port):
    return f"http://{HOST}:{port}/"


def web_server(port):
    return [sys.executable, "-m", "http.server", "--bind", HOST, port]


def test_serves_until_the_block_ends(port, url):
    """It answers as soon as it has been waited for, and not after the block."""
    with workspace("web") as directory, serving(web_server(port), directory) as program:
        program.wait_for(url)
        answered = answers(url)

    assert answered
    assert not answers(url)
    assert not directory.exists()


def test_one_that_ends_at_once(url):
    """To wait for a program that has ended tells what it said."""
    failing = [sys.executable, "-c", "import sys; sys.exit('no such book')"]
    with (
        workspace("web") as directory,
        serving(failing, directory) as program,
        pytest.raises(ProgramError, match=r"ended with 1; it said:\nno such book"),
    ):
        program.wait_for(url)


def test_one_that_will_not_end(url):
    """What does not heed SIGTERM is killed."""
    deaf = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('!', flush=True); signal.pause()"
    )
    with workspace("deaf") as directory:
        with serving([sys.executable, "-c", deaf], directory, grace=0.5) as program:
            eventually(program.log.read_text, "its first word")

        with pytest.raises(ProcessLookupError):
            os.kill(program.pid, 0)


def test_dies_with_its_process(port, url):
    """Even if its process is killed a program does not stay behind, nor does its directory."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, EXAMPLES, str(port)], stdout=subprocess.PIPE, text=True
    ) as process:
        directory = Path(process.stdout.readline().strip())
        served = answers(url)
        process.send_signal(signal.SIGKILL)

    eventually(lambda: not answers(url) and not directory.exists(), "the program's end")
    assert served
