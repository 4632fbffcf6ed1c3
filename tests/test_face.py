"""The face: statuses, one-line errors, --json, configuration, and what happens when stdout goes away."""

import json
import os
import signal
import subprocess
import sys

import orjson
import pytest
from processes import CLET, clean_environment


@pytest.fixture
def stream(record):
    return b"".join(orjson.dumps(record(f"text {i}")) + b"\n" for i in range(2000))


def test_no_arguments_is_a_usage_error_with_help(clet):
    done = clet()
    assert done.returncode == 2
    assert b"Commands:" in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"],
        ["cat", "--nosuch"],
        ["cat", "-n", "many"],
        ["cat", "-n", "-3"],
        ["cat", "nofile"],
        ["dedup", "--seed", "9" * 23],
    ],
)
def test_usage_errors_are_one_line_and_status_2(clet, arguments):
    done = clet(*arguments)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"clet")


def test_json_makes_every_stderr_line_an_object_and_the_summary_the_last(clet, stream):
    done = clet("dedup", "--json", input=stream + b"nonsense\n")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert events[-1]["event"] == "summary"
    assert {"in", "out", "rejected", "tokens", "seconds", "ts", "cmd"} <= events[-1].keys()
    assert (events[-1]["in"], events[-1]["out"]) == (2001, 2000)
    assert events[-1]["rejected"]["bad"] == 1
    assert any("stdin:2001" in event.get("message", "") for event in events)


def test_a_failure_ends_with_a_summary_too_when_asked(clet, stream):
    error, summary = map(json.loads, clet("cat", "--json", "nofile").stderr.splitlines())
    assert (error["cmd"], error["event"], summary["event"]) == ("cat", "error", "summary")
    done = clet("dedup", "--json", "--max-errors", "0", input=stream + b"nonsense\n")
    assert done.returncode == 65
    assert json.loads(done.stderr.splitlines()[-1])["rejected"] == {"bad": 1}


def test_a_wrong_command_line_is_an_object_too_when_asked(clet):
    lines = [json.loads(line) for line in clet("dedup", "--json", "--nosuch").stderr.splitlines()]
    assert [line["event"] for line in lines] == ["error", "summary"]


def test_quiet_leaves_errors_only(clet, stream):
    assert clet("dedup", "-q", input=stream).stderr == b""
    assert clet("dedup", "-q", input=b"nonsense\n").stderr.count(b"\n") == 1


def test_flag_beats_environment_beats_file_beats_default(clet, tmp_path):
    (tmp_path / "c.toml").write_text("[cat]\nlimit = 3\n")

    def limit(*flags, **env):
        done = clet("cat", "--print-config", *flags, env=env)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.decode().splitlines() if "limit" in line]

    assert limit() == ["# limit is not set"]
    assert limit("--config", "c.toml") == ["limit = 3"]
    assert limit(CLET_CONFIG="c.toml") == ["limit = 3"]
    assert limit("--config", "c.toml", CLET_CAT_LIMIT="4") == ["limit = 4"]
    assert limit("--config", "c.toml", "-n", "5", CLET_CAT_LIMIT="4") == ["limit = 5"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[cat]\nlimt = 3\n", "c.toml:2: [cat] has no setting 'limt'"),
        ("[cat\n", "c.toml"),
        ("cat = 3\n", "not a table"),
        ("[cat]\nlimit = 3\n\n[dedpu]\nnear = 0.8\n", "c.toml:4: no command is called 'dedpu'"),
        ("[cat.more]\nlimit = 3\n", "c.toml:1: [cat] has no setting 'more'"),
        ("limit = 3\n", "c.toml:1: no table is called 'limit'"),
    ],
)
def test_wrong_configuration_is_status_78(clet, tmp_path, body, says):
    (tmp_path / "c.toml").write_text(body)
    done = clet("cat", "--config", "c.toml")
    assert done.returncode == 78
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_table_that_no_subcommand_has_is_refused_and_those_of_others_are_not(clet, tmp_path):
    (tmp_path / "c.toml").write_text("[dedup]\nnear = 0.8\n[judge.fitt]\nseed = 1\n")
    done = clet("judge", "fit", "--config", "c.toml")
    assert done.returncode == 78
    assert "c.toml:3: no command is called 'fitt' in [judge]" in done.stderr.decode()
    (tmp_path / "c.toml").write_text("[dedup]\nnear = 0.8\n[judge.trust]\nbelow = 0.3\n")
    done = clet("judge", "fit", "--config", "c.toml")
    assert done.stderr.decode().startswith("clet judge: missing option '--good'")  # the file was read


def test_full_disk_is_status_74_with_one_line(bash, tmp_path, stream):
    (tmp_path / "in").write_bytes(stream)
    for command in ("cat in", "dedup in --plain", "dedup in"):
        done = bash(f"clet {command} > /dev/full")
        assert done.returncode == 74, done.stderr
        assert b"No space left" in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_141_and_silence(bash, tmp_path, stream):
    (tmp_path / "in").write_bytes(stream * 50)
    done = bash("set +e; clet cat in | head -n 1 > /dev/null; echo ${PIPESTATUS[0]}")
    assert done.stdout == b"141\n"
    assert done.stderr == b""


def test_closed_stdout_is_a_write_error_not_a_traceback(bash, tmp_path, stream):
    (tmp_path / "in").write_bytes(stream)
    done = bash("clet cat in >&-")
    assert done.returncode == 74
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_stage_without_output_or_commit(tmp_path, stream, number, status):
    process = subprocess.Popen(
        [CLET, "dedup", "-o", "out.jsonl", "--state", "state"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=clean_environment(),
    )
    process.stdin.write(stream)
    process.stdin.flush()
    while not (tmp_path / "state" / "lock").exists() and process.poll() is None:
        os.sched_yield()
    process.send_signal(number)
    process.wait(timeout=60)
    assert process.returncode == status
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "state" / "HEAD").exists()
    assert b"Traceback" not in process.stderr.read()


LOST = """
import signal, sys, time
from clet import cli

class Ends:
    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))  # whose exception Python ignores here

def work(*_, **__):
    Ends()
    print("goes on", flush=True)
    time.sleep(60)

cli.build = lambda: work
sys.exit(cli.run([]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_whose_exception_is_lost_ends_the_process_all_the_same(number, status):
    done = subprocess.run([sys.executable, "-c", LOST, str(int(number))], capture_output=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"goes on\n", b"")


def test_messages_cannot_forge_lines_or_drive_a_terminal(clet, tmp_path):
    name = "a\n\x1b[31mclet cat: fine\u202e"
    done = clet("cat", name)
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr
    assert "\u202e".encode() not in done.stderr


def closed(*fds):
    """For a child to run before its program: as a shell's `>&-`."""
    return lambda: [os.close(fd) for fd in fds]


@pytest.mark.parametrize(
    "arguments", [["dedup", "-q", "in", "--state", "s"], ["cat", "in"], ["--help"], ["cat", "--help"]]
)
def test_a_closed_stdout_is_a_failed_write_and_nothing_else_is_written_to(tmp_path, stream, arguments):
    (tmp_path / "in").write_bytes(stream)
    done = subprocess.run(
        [CLET, *arguments], cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, preexec_fn=closed(1)
    )
    assert done.returncode == 74
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "s").exists() or [f.stat().st_size for f in (tmp_path / "s").iterdir()] == [0]


def test_a_closed_stdin_or_stderr_is_no_bug(tmp_path, stream):
    (tmp_path / "in").write_bytes(stream)
    run = {"cwd": tmp_path, "env": clean_environment(), "stdout": subprocess.PIPE}
    done = subprocess.run([CLET, "dedup"], stderr=subprocess.PIPE, preexec_fn=closed(0), **run)
    assert (done.returncode, done.stderr.count(b"\n")) == (65, 1)
    done = subprocess.run([CLET, "dedup", "in", "--plain"], preexec_fn=closed(0, 2), **run)
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 2000)


def test_help_on_a_full_disk_is_one_line(bash):
    for command in ("clet --help", "clet cat --help"):
        done = bash(f"{command} > /dev/full || echo $?")
        assert done.stdout == b"74\n"
        assert done.stderr.count(b"\n") == 1


def test_an_empty_value_is_refused_not_taken_for_none(clet):
    done = clet("dedup", "--state", "", input=b"")
    assert (done.returncode, done.stderr) == (2, b"clet dedup: --state is empty; name something, or leave it out\n")


def test_a_wrong_value_in_the_file_is_the_configurations_fault(clet, tmp_path):
    (tmp_path / "c.toml").write_text('[dedup]\nnear = "much"\n')
    done = clet("dedup", "--config", "c.toml")
    assert done.returncode == 78
    assert done.stderr.startswith(b"clet dedup: c.toml: ")


def test_names_that_are_no_utf8_can_be_told(tmp_path):
    name = os.fsencode(tmp_path) + b"/bad\xff.txt"
    with open(name, "wb") as file:
        file.write(b"A text in a file of a strange name.")
    command = [os.fsencode(CLET), b"ingest", b"--json", b"--state", b"s", b"file:" + name, b"file:" + name + b"no"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert (events[-1]["event"], events[-1]["in"], events[-1]["failed"]) == ("summary", 1, 1)
    assert "bad\\xff.txtno" in events[0]["message"]
