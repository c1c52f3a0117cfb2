"""The self-check: what it asks, when it fails, and what it says about the PyPI package ``causalimpact``."""

import json
import subprocess
import sys
from importlib import metadata

import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from causalbench import doctor
from causalbench.workflow import estimate as workflow

# What the program 0.2.6 prints for series without effect, where it runs (pandas 1.5.3): a p of 0 each time.
ALWAYS_CERTAIN = "P-value                          0.0%"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution by hand: its metadata, and a module with the given source."""

    def _install(name, version, *, source="", requires=()):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needed = "".join(f"Requires-Dist: {line}\n" for line in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}", "utf-8")
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return _install


def line(lines, name):
    return next(line for line in lines if line.name == name)


def port_that_prints(text):
    return (
        "class CausalImpact:\n"
        "    def __init__(self, data, pre_period, post_period): pass\n"
        "    def run(self): pass\n"
        f"    def summary(self): print({text!r})\n"
    )


def test_this_environment_is_healthy():
    lines = doctor.examine()
    assert doctor.healthy(lines)
    assert {"python", "numpy", "scipy", "duckdb", "narwhals", "compiled kernels", "notebook kernel"} <= {
        line.name for line in lines
    }
    assert all(line.remedy for line in lines if line.status != "ok")
    assert "geolift" in line(lines, "shipped files").found


def test_caps_of_dependencies_are_shown():
    # dowhy 0.14 caps scipy at 1.15.3 below Python 3.13: its own metadata.
    wanted = doctor._wanted()["scipy"]
    assert wanted["dowhy"] == next(
        str(needed.specifier) for needed in doctor._requirements("dowhy") if needed.name == "scipy"
    )
    assert "dowhy asks for" in doctor._package("scipy", wanted).found


def test_package_out_of_range_fails_and_says_for_whom():
    found = doctor._package("numpy", {"causalbench-workbench": ">=2", "other": "<1"})
    assert found.status == "fail"
    assert "doesn't suit other" in found.found
    assert found.remedy


def test_missing_package_fails_with_the_command_that_installs_it():
    found = doctor._package("no-such-distribution", {"causalbench-workbench": ">=2"})
    assert found.status == "fail"
    assert '"no-such-distribution>=2"' in found.remedy


def test_port_that_is_not_installed_is_no_trouble():
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("causalimpact")
    found = doctor._port()
    assert found.status == "ok"
    assert "0.2.6 fails" in found.found
    assert "index versions causalimpact" in found.found


def test_port_that_raises_is_named_with_its_error(install):
    install("causalimpact", "0.2.6", source="raise AttributeError('no is_datetime_or_timedelta_dtype')")
    found = doctor._port()
    assert found.status == "warn"
    assert found.found.startswith("0.2.6 doesn't work here: AttributeError: no is_datetime")


def test_port_that_is_certain_without_any_effect_is_not_trusted(install):
    install("causalimpact", "0.2.6", source=port_that_prints(ALWAYS_CERTAIN))
    found = doctor._port()
    assert found.status == "warn"
    assert "prints p = 0, 0, 0" in found.found


@pytest.mark.parametrize("printed", ["Posterior tail-area probability p: 0.31", "P-value   31.0%", "p-value: 0.31."])
def test_port_that_works_is_reported(install, printed):
    install("causalimpact", "9.9", source=port_that_prints(printed))
    found = doctor._port()
    assert found.status == "ok"
    assert "9.9 works here: on 3 series without effect it prints p = 0.31" in found.found


def test_folder_that_cannot_be_written_fails(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = doctor._folder()
    assert (found.status, "Read-only file system" in found.found) == ("fail", True)


def test_kernels_that_cannot_be_kept_fail_with_the_way_out(monkeypatch):
    def refuse(*_):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(workflow, "estimate", refuse)
    found = doctor._kernels()
    assert (found.status, "no locator" in found.found, "NUMBA_CACHE_DIR" in found.remedy) == ("fail", True, True)


def test_kernel_of_another_environment_is_warned_about(monkeypatch):
    spec = KernelSpec(argv=["/somewhere/else/bin/python", "-m", "ipykernel_launcher"])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda *_: spec)
    found = doctor._notebooks()
    assert (found.status, "/somewhere/else" in found.found) == ("warn", True)


def test_missing_kernel_fails(monkeypatch):
    def nothing(_, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", nothing)
    assert doctor._notebooks().status == "fail"


def test_more_threads_than_cores_are_warned_about(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert doctor._threads().status == "warn"


def test_terminal_without_unicode_is_warned_about(monkeypatch):
    monkeypatch.setattr(doctor.sys, "stdout", open("/dev/null", "w", encoding="ascii"))  # noqa: SIM115, PTH123
    found = doctor._terminal()
    doctor.sys.stdout.close()
    assert (found.status, found.remedy.startswith("set PYTHONUTF8=1")) == ("warn", True)


def test_text_counts_what_fails_and_puts_the_remedy_below():
    lines = (
        doctor.Line(name="a", status="ok", found="fine"),
        doctor.Line(name="b", status="fail", found="bad", remedy="mend"),
    )
    text = doctor.as_text(lines)
    assert "To mend it: mend" in text
    assert text.endswith("2 questions: 1 failing, 0 to look at")
    assert not doctor.healthy(lines)


def test_command_prints_one_json_object_and_leaves_with_0():
    done = subprocess.run([sys.executable, "-m", "causalbench", "doctor", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["healthy"] is True
    assert {"name", "status", "found", "remedy"} == set(found["lines"][0])


def test_command_leaves_with_2_when_something_fails(monkeypatch, capsys):
    from causalbench import cli

    monkeypatch.setattr(
        doctor, "examine", lambda **_: (doctor.Line(name="a", status="fail", found="bad", remedy="mend"),)
    )
    monkeypatch.setattr(sys, "argv", ["causalbench", "doctor"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "fail a" in capsys.readouterr().out
