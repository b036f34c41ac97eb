"""A project of one's own by `aam init`: made, completed, and kept with the dbt package of the command."""

import shutil
from pathlib import Path

import pytest
from conftest import PROJECT, Workspace

from aam_onboard.init import init_project
from aam_onboard.package import LINK, package_version


@pytest.fixture
def own(tmp_path: Path) -> Workspace:
    """A new project on DuckDB, before `dbt deps`."""
    init_project(tmp_path / "own", warehouse="duckdb")
    return Workspace(tmp_path / "own", "duckdb")


def test_the_package_is_that_of_the_command(own: Workspace) -> None:
    """What leads to another one is mended or told in one line, before anything is built."""
    link, installed = own.root / LINK, own.root / "dbt_packages" / "aam_onboard"
    assert own.refused(2, "plan") == f"aam: {installed.relative_to(own.root)} is missing: run `dbt deps`"

    installed.parent.mkdir()
    installed.symlink_to(link)
    for lead in ("nowhere", None):
        link.unlink()
        if lead:
            link.symlink_to(lead)
        assert "nothing has been built" in own.refused(2, "plan")
        assert link.resolve() == PROJECT

    installed.unlink()
    shutil.copytree(PROJECT / "macros", installed / "macros")
    (installed / "dbt_project.yml").write_text("name: aam_onboard\nversion: 0.0.9\n")
    said = own.refused(2, "run")
    assert f"is of version 0.0.9, but this command of {package_version()}: run `dbt deps`, or install" in said
    (own.root / "packages.yml").write_text("packages: [{git: https://example.com/aam.git}]\n")
    assert "let packages.yml name `- local: .aam/dbt_package`" in own.refused(2, "run")
    shutil.rmtree(installed)
    (own.root / "packages.yml").unlink()
    assert "packages.yml does not name the package aam_onboard: run `aam init`" in own.refused(2, "run")
    assert own.ok("--version").out == f"aam {package_version()}\n"


def test_where_links_cannot_be_made_a_copy_is_kept_up(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aam_onboard import package

    link = own.root / LINK
    link.unlink()

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):
        package.link_package(own.root)
        assert not link.is_symlink()
        assert package.installed_version(link) == package_version()
        assert sorted(path.name for path in link.iterdir()) == [
            "dbt_project.yml",
            "macros",
            "models",
            "tests",
        ]
        (link / "dbt_project.yml").write_text("name: aam_onboard\nversion: 0.0.9\n")
        (link / "macros" / "old.sql").touch()
    package.link_package(own.root)
    assert not (link / "macros" / "old.sql").exists()
    assert [path.name for path in link.parent.iterdir()] == [link.name]
