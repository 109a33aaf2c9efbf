"""A test run goes on to its end: a test that hangs fails by its name, a worker that dies is replaced."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(600)  # each starts a run of its own, with several workers

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
timeout = 2
timeout_method = signal
faulthandler_timeout = 8
faulthandler_exit_on_timeout = true
"""

ENDED = {
    "awaits": """
        import asyncio
        async def test_awaits():
            await asyncio.Event().wait()  # for ever
    """,
    "leaves_it_to_a_task": """
        import asyncio
        async def background():
            await asyncio.Event().wait()  # in the background
        async def test_leaves_it_to_a_task():
            await asyncio.shield(asyncio.create_task(background()))
    """,
    "polls": """
        import asyncio
        async def test_polls():
            while True:
                await asyncio.sleep(0)
    """,
    "never_tidies_up": """
        import asyncio, pytest
        @pytest.fixture
        async def untidy():
            yield
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.Event().wait()
        async def test_never_tidies_up(untidy):
            pass
    """,
    "joins": """
        import threading
        def test_joins():
            threading.Event().wait()
    """,
    "blocks_its_loop": """
        import threading
        async def test_blocks_its_loop():
            threading.Event().wait()
    """,
}
"""Ways to hang that end when the test's time is over."""

FATAL = {
    "does_not_mind": """
        import asyncio
        async def test_does_not_mind():
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass
    """,
    "masks_signals": """
        import signal, threading
        def test_masks_signals():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            threading.Event().wait()
    """,
    "ends_its_process": """
        import os
        def test_ends_its_process():
            os._exit(1)
    """,
}
"""Ways to hang, or worse, that end with the worker only."""

WELL = """
def test_well():
    pass
"""

PLUGINS = (
    "xdist.plugin",
    "pytest_timeout",
    "pytest_asyncio.plugin",
    "tests.support.limits",
    "no:cacheprovider",
)
"""Of those that are installed the ones that matter: each worker loads them anew."""

SHARED = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
"""How `make test` runs, with fewer workers."""


def run(folder: Path, files: dict[str, str], *options: str) -> tuple[int, str]:
    """Run tests with the limits of this suite, shorter ones; return the exit code and what was said."""
    (folder / "pytest.ini").write_text(INI)
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *(word for name in PLUGINS for word in ("-p", name)),
            "-rfE",
            *options,
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("options", [(), SHARED], ids=["alone", "shared"])
def test_what_hangs_fails_by_its_name_and_tells_where_and_the_others_pass(
    tmp_path: Path, options: tuple[str, ...]
):
    code, said = run(tmp_path, {way: dedent(text) + WELL for way, text in ENDED.items()}, *options)
    assert code == 1, said
    assert f"{len(ENDED) - 1} failed, {len(ENDED) + 1} passed, 1 error" in said, said
    for way in ENDED:
        assert f"{'ERROR' if way == 'never_tidies_up' else 'FAILED'} test_{way}.py::test_{way} " in said, said
    assert "over after 2 s" in said, said
    assert "wait()  # for ever" in said, said
    assert "wait()  # in the background" in said, said


def test_a_worker_that_dies_is_replaced_and_no_other_test_is_lost(tmp_path: Path):
    fatal = {way: WELL.replace("well", "before") + dedent(text) + WELL for way, text in FATAL.items()}
    well = {f"well_{n}": WELL for n in range(5)}
    code, said = run(tmp_path, {**fatal, **well}, *SHARED)
    assert code == 1, said
    for way in FATAL:
        assert f"crashed while running 'test_{way}.py::test_{way}'" in said, said
    # What does not mind has failed when its worker dies.
    assert f"{len(FATAL) + 1} failed, {2 * len(FATAL) + len(well)} passed" in said, said


def test_a_worker_that_dies_in_the_last_test_of_all_leaves_nothing_to_wait_for(tmp_path: Path):
    files = {"first": WELL, "last": WELL + dedent(FATAL["ends_its_process"])}
    code, said = run(tmp_path, files, *SHARED)
    assert (code, "1 failed, 2 passed" in said) == (1, True), said
