"""The wheel alone is enough: outside any clone, in an environment of its own."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the built wheel; what it needs lies in that of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, PROJECT]
    subprocess.run(build, check=True)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    [own] = (folder / "env" / "lib").glob("python*/site-packages")
    [theirs] = (Path(sys.prefix) / "lib").glob("python*/site-packages")
    install = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    subprocess.run([*install, "install", "--no-deps", "--no-index", wheel], check=True)
    (own / "of_the_tests.pth").write_text(f"{theirs}\n")
    return python.parent


def test_check_init_run_and_doctor(installed: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AAM_", "DBT_", "PG"))}
    environment = kept | {"HOME": str(tmp_path), "PATH": f"{installed}:{os.environ['PATH']}"}

    def call(command: str, cwd: Path) -> str:
        done = subprocess.run(
            command, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    version = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["version"]
    assert call("aam --version", tmp_path) == f"aam {version}\n"
    (tmp_path / "ftp_dpm_58342_1700000000.sync").write_text("u1\td_sid=24\n")
    assert "stored" in call("aam check ftp_dpm_58342_1700000000.sync", tmp_path)

    assert "aam doctor" in call("aam init shop --example", tmp_path)
    shop = tmp_path / "shop"
    call("python -m dbt.cli.main deps --quiet", shop)
    call("aam run --quiet", shop)
    assert len(list((shop / "out").rglob("*.gz"))) == 7
    told = call("aam doctor --write", shop).splitlines()
    assert told[-1] == "All is well."
    assert {line.partition(" ")[0] for line in told[:-2]} == {"ok"}
    assert f"aam {version}, Python" in told[0]
    carried = installed.parent.resolve()
    assert (shop / ".aam" / "dbt_package").resolve().is_relative_to(carried)
