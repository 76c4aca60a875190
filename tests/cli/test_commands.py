"""check, schema and the usage of every command, as a user types them: exact output, stream and exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastlb import __version__
from fastlb.cli import main
from fastlb.config import json_schema
from tests.config.samples import EXAMPLES, GOLDEN, MINIMAL, ROOT


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="fastlb", input=stdin)


def usage_error(*arguments: str) -> str:
    """The last line of a refusal, which comes on standard error with status 2."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


def module(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m fastlb`, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastlb", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_version() -> None:
    result = module("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"fastlb {__version__}\n", "")


def test_the_version_needs_no_configuration_code() -> None:
    code = (
        "import sys; from fastlb.cli import main; main(['--version'], standalone_mode=False);"
        "print({'pydantic', 'uvloop', 'fastlb.config', 'fastlb.runtime.supervisor'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("serve", "check", "schema"):
        assert f"\n  {name} " in result.stdout
        assert run(name, "--help").exit_code == 0
        assert run(name, "-h").exit_code == 0


def test_shell_completion() -> None:
    environment = os.environ | {"_FASTLB_COMPLETE": "bash_complete", "COMP_CWORD": "1", "COMP_WORDS": "fastlb sc"}
    result = subprocess.run(
        [sys.executable, "-m", "fastlb"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == "plain,schema\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("fastlb serve --balance least", ["least_connections", "least_time"]), ("fastlb serve --workers a", ["auto"])],
)
def test_completion_of_values(words: str, expected: list[str]) -> None:
    count = str(len(words.split()) - 1)
    environment = os.environ | {"_FASTLB_COMPLETE": "bash_complete", "COMP_CWORD": count, "COMP_WORDS": words}
    result = subprocess.run(
        [sys.executable, "-m", "fastlb"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines() == [f"plain,{value}" for value in expected]


# check


def test_check_of_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "fastlb.toml"
    file.write_text("[global]\nworkers = 2\n" + MINIMAL)
    result = run("check", "-c", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{file}: OK: 1 frontend (1 address), 1 backend (1 server), 2 workers\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_check_of_the_examples(path: Path) -> None:
    result = run("check", "-c", str(path))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{path}: OK: ")


def test_check_counts(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        "[global]\nworkers = 0\n"
        + MINIMAL.replace('":8080"', '[":80", ":81"]')
        + '[[frontends.web.routes]]\npath = "/a"\nbackend = "two"\n[backends.two]\nservers = ["a:1", "b:1"]\n'
    )
    assert run("check", "--config", str(file)).stdout == (
        f"{file}: OK: 1 frontend (2 addresses, 1 route), 2 backends (3 servers), one process\n"
    )


def test_check_with_warnings() -> None:
    file = GOLDEN / "warnings.toml"
    result = run("check", "-c", str(file))
    expected = file.with_suffix(".txt").read_text().replace("warnings.toml", str(file))
    assert (result.exit_code, result.stderr) == (0, expected)
    assert result.stdout.endswith(f"workers, {len(expected.splitlines())} warnings\n") or "worker," in result.stdout


@pytest.mark.parametrize("name", ["structure", "rules", "references", "misspelt", "syntax"])
def test_check_of_a_wrong_file(name: str) -> None:
    file = GOLDEN / f"{name}.toml"
    result = run("check", "-c", str(file))
    expected = file.with_suffix(".txt").read_text().replace(f"{name}.toml", str(file))
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", expected)


def test_check_of_standard_input() -> None:
    good = run("check", "-c", "-", stdin=MINIMAL)
    assert good.exit_code == 0
    assert good.stdout.startswith("<stdin>: OK: ")
    bad = run("check", "-c", "-", stdin="listen: 80\n")
    assert (bad.exit_code, bad.stderr) == (
        2,
        "<stdin>:1:7: not valid TOML: expected '=' after a key in a key/value pair\n",
    )


def test_check_of_a_file_that_is_not_there() -> None:
    result = run("check", "-c", "/nonexistent/fastlb.toml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "/nonexistent/fastlb.toml: cannot be read: No such file or directory\n"


def test_check_needs_a_file() -> None:
    assert usage_error("check") == "Error: Missing option '-c' / '--config'."


def test_output_has_no_colours_where_it_is_no_terminal() -> None:
    assert "\x1b" not in module("check", "-c", str(EXAMPLES[0])).stdout


# schema


def test_schema() -> None:
    result = module("schema")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == json_schema()
    assert result.stdout == (ROOT / "docs" / "fastlb.schema.json").read_text()


# usage of serve


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Error: say what to serve: -c FILE, --to HOST:PORT or --demo."),
        (["--listen", ":80"], "Error: say what to serve: -c FILE, --to HOST:PORT or --demo."),
        (["-c", "x", "--demo"], "Error: -c and --demo exclude each other."),
        (["--to", "a:1", "--demo"], "Error: --to and --demo exclude each other."),
        (["-c", "x", "--listen", ":80"], "Error: --listen is for use without a file; set it in x."),
        (["-c", "x", "--balance", "random"], "Error: --balance is for use without a file; set it in x."),
        (
            ["--to", "a"],
            "Error: Invalid value for '--to': 'a': the port is missing; an address looks like \"10.0.0.1:8080\"; "
            "did you mean 'a:80'?",
        ),
        (
            ["--to", "a:1", "--listen", "80"],
            "Error: Invalid value for '--listen': '80': must be an address with a port, such as \":80\"; "
            "did you mean ':80'?",
        ),
        (
            ["--to", "a:1", "--balance", "consistent_hash"],
            "Error: Invalid value for '--balance': 'consistent_hash': consistent_hash needs a key, "
            "which only a configuration file can give; did you mean 'ip_hash'?",
        ),
        (
            ["--to", "a:1", "--workers", "many"],
            "Error: Invalid value for '--workers': 'many': must be \"auto\" or a number from 0 to 256",
        ),
        (
            ["--to", "a:1", "--workers", "257"],
            "Error: Invalid value for '--workers': '257': must be \"auto\" or a number from 0 to 256",
        ),
    ],
)
def test_usage(arguments: list[str], message: str) -> None:
    assert usage_error("serve", *arguments) == message


def test_a_wrong_algorithm_gets_the_nearest() -> None:
    message = usage_error("serve", "--to", "a:1", "--balance", "leastconn")
    assert message.startswith("Error: Invalid value for '--balance': 'leastconn': must be round_robin, ")
    assert message.endswith("did you mean 'least_connections'?")


def test_unknown_commands_and_options() -> None:
    assert "No such command 'chek'" in usage_error("chek")
    assert "'check'" in usage_error("chek")
    assert usage_error("serve", "--too", "a:1").startswith("Error: No such option")


def test_the_manual_of_ctl_names_every_command() -> None:
    import click

    from fastlb.cli.ctl import ctl

    text = (ROOT / "docs" / "ctl.md").read_text()

    def names(group: click.Group, before: str) -> list[str]:
        found = []
        for name, command in group.commands.items():
            found += names(command, f"{before}{name} ") if isinstance(command, click.Group) else [f"{before}{name}"]
        return found

    every = names(ctl, "")
    assert {"server drain", "show servers", "logs"} <= set(every)
    for name in every:
        *group, last = name.split()
        # commands of a group stand in one line of the table: `server drain`, `maint`, `ready`
        line = next((line for line in text.splitlines() if f"`{last}" in line or f"{name}" in line), "")
        assert line and (not group or group[0] in line or group[0] in text), name
