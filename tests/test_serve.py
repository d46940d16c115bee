"""serve.py: its flags, and mistakes."""

import sys
from pathlib import Path

import pytest

import serve
from conftest import assert_mistaken, inside
from serving.sockets import bind


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--checkpoint", "a.ckpt", "--model", "SVM"], "expected one of --models, --checkpoint, and --model with"),
        (["--models", "a=b", "--dataset", "D"], "expected one of --models, --checkpoint, and --model with"),
        (["--port", "70000"], "argument --port: 70000 is out of range, expected at least 0 and at most 65535"),
        (["--timeout", "0"], "argument --timeout: 0 is out of range, expected above 0"),
        (["--access_log", "xml"], "argument --access_log: invalid choice: 'xml'"),
    ],
)
def test_a_mistake_in_flags_is_a_line(monkeypatch, capsys, arguments, message):
    assert_mistaken(monkeypatch, capsys, serve.main, arguments, message)


@pytest.mark.parametrize(
    "name, message",
    [
        ("missing.ckpt", "missing.ckpt cannot be read: No such file or directory"),
        ("damaged.ckpt", "damaged.ckpt is damaged or no checkpoint"),
        ("other", "other is no export, or not a whole one: no file "),
        ("a=", "--models a=: expected NAME=PATH, and each name once"),
        ("a=b a=c", "--models a=c: expected NAME=PATH, and each name once"),
    ],
)
def test_a_model_that_cannot_be_served_is_a_line(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    Path("damaged.ckpt").write_bytes(b"PK\3\4")
    Path("other").mkdir()
    flags = ["--models", *name.split()] if "=" in name else ["--checkpoint", name]
    done = inside("serve.py", *flags, "--port", 0, "--device", "cpu", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]


def test_a_port_in_use_is_a_line():
    with bind("127.0.0.1", 0) as other:
        other.listen()
        port = other.getsockname()[1]
        done = inside("serve.py", "--checkpoint", "a.ckpt", "--port", port, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"serve.py: 127.0.0.1:{port} is not available: Address already in use; use another --host or --port\n"
    )


def test_missing_packages_are_a_line_with_the_command(monkeypatch):
    monkeypatch.setattr(serve, "problem", lambda requirements: f"x is not installed; install {requirements.name}")
    done = inside("serve.py", check=False)
    assert (done.returncode, done.stderr) == (2, "serve.py: x is not installed; install requirements-serve.txt\n")


@pytest.mark.parametrize(
    "address, key, lines",
    [
        (("127.0.0.1", 80), None, ["Serving m (m.ckpt) at http://127.0.0.1:80"]),
        (("::", 80, 0, 0), "k", ["http://[::]:80", "Other machines reach this address: each program with the key in"]),
        (
            ("0.0.0.0", 80),
            None,
            ["http://0.0.0.0:80", "Other machines reach this address: anybody, since SERVE_API_KEY"],
        ),
    ],
)
def test_what_it_means_to_listen_to_other_machines(capsys, address, key, lines):
    serve.describe(address, {"m": Path("m.ckpt")}, key)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == len(lines)
    for line, part in zip(shown, lines, strict=True):
        assert part in line


def test_the_newest_checkpoint_is_served_with_the_key_of_the_environment(monkeypatch, trained_svm):
    monkeypatch.setenv("SERVE_API_KEY", "secret")
    monkeypatch.setattr(sys, "argv", ["serve.py", "--dataset", str(trained_svm)])
    args = serve.parse_args()
    assert args.key == "secret"
    assert serve.paths_of(args) == {"SVM": trained_svm / "saved_dict" / "SVM.ckpt"}
