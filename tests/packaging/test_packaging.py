"""What users get: the wheel, built from the sdist and installed where nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("cli", "core", "providers", "runtime", "templates")
pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Install:
    """A virtual environment, and a folder far from the checkout to run its programs in."""

    venv: Path
    folder: Path

    @classmethod
    def make(cls, parent: Path) -> Install:
        run([sys.executable, "-m", "venv", str(parent / "venv")], parent)
        (parent / "elsewhere").mkdir()
        return cls(parent / "venv", parent / "elsewhere")

    def run(self, program: str, *arguments: str | Path) -> str:
        return run([str(self.venv / "bin" / program), *map(str, arguments)], self.folder)

    def pip_install(self, *arguments: str | Path) -> None:
        self.run("python", "-m", "pip", "install", "-q", *arguments)

    def site_packages(self) -> Path:
        script = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(self.run("python", "-c", script).strip())


def run(command: list[str], folder: Path) -> str:
    """Return what a command prints, run as if no checkout and no llmcloud were around."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LLMCLOUD"))}
    environment |= {"LLMCLOUD_HOME": str(folder / "home"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", name="source")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout as a commit of it would be, after some use."""
    copy = tmp_path_factory.mktemp("source") / "llmcloud"
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    run([sys.executable, "-m", "compileall", "-q", "runtime", "templates"], copy)
    return copy


@pytest.fixture(scope="module", name="dist")
def _dist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "-o", str(folder), str(source)], folder)
    return folder


@pytest.fixture(scope="module", name="wheel")
def _wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module", name="installed")
def _installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    install = Install.make(tmp_path_factory.mktemp("install"))
    install.pip_install("-c", ROOT / "requirements-dev.lock", wheel)
    return install


def shipped(source: Path) -> set[str]:
    """Return the files that belong to the package, by their names in it."""
    ours = [path for folder in FOLDERS for path in (source / folder).rglob("*") if path.is_file()]
    ours = [path for path in ours if "__pycache__" not in path.parts]
    return {f"llmcloud/{path.relative_to(source)}" for path in ours}


class TestTheWheel:
    def test_holds_every_file_of_the_package(self, source: Path, wheel: Path) -> None:
        """…templates with their hidden files and those that are no Python, and nothing else."""
        names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
        assert names == shipped(source) | {"llmcloud/__init__.py", "llmcloud/py.typed"}
        assert "llmcloud/templates/tiny-gpt/job.yaml" in names

    def test_carries_its_licence(self, wheel: Path) -> None:
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)

    def test_names_the_extras(self, wheel: Path) -> None:
        archive = zipfile.ZipFile(wheel)
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
        assert {f"Provides-Extra: {each}" for each in ("aws", "gcp", "azure", "all")} <= set(
            text.splitlines()
        )
        assert "License-Expression: Apache-2.0" in text


class TestTheSourceArchive:
    def test_holds_each_file_once(self, source: Path, dist: Path) -> None:
        """…and no links, which some systems can't unpack, no tests and no caches."""
        (path,) = dist.glob("*.tar.gz")
        with tarfile.open(path) as archive:
            members = archive.getmembers()
        names = {"/".join(each.name.split("/")[1:]) for each in members if each.isfile()}
        assert not any(each.issym() or each.islnk() for each in members)
        assert {f"src/{name}" for name in shipped(source)} <= names
        assert {name.split("/")[0] for name in names} <= {
            *("src", "pyproject.toml", "PKG-INFO", "setup.cfg", "MANIFEST.in"),
            *("README.md", "LICENSE", "CHANGELOG.md"),
        }
        assert not any("__pycache__" in name for name in names)


class TestTheInstall:
    def test_puts_nothing_but_llmcloud_into_site_packages(self, installed: Install) -> None:
        (record,) = installed.site_packages().glob("llmcloud-*.dist-info/RECORD")
        lines = record.read_text().splitlines()
        tops = {line.split("/")[0] for line in lines if not line.startswith("../")}
        assert tops == {"llmcloud", record.parent.name}
        beside = {line.split(",")[0] for line in lines if line.startswith("../")}
        assert beside == {"../../../bin/llmcloud"}

    def test_is_typed_and_tells_its_version(self, installed: Install) -> None:
        said = installed.run("llmcloud", "--version")
        assert said.strip().endswith(
            installed.run("python", "-c", "import llmcloud; print(llmcloud.__version__)").strip()
        )
        assert (installed.site_packages() / "llmcloud" / "py.typed").is_file()

    def test_imports_each_module(self, installed: Install) -> None:
        """…with the base dependencies alone."""
        script = """if True:
            import importlib, pkgutil, llmcloud
            for each in pkgutil.walk_packages(llmcloud.__path__, "llmcloud."):
                if ".templates." not in each.name and not each.name.endswith("__main__"):
                    importlib.import_module(each.name)
        """
        installed.run("python", "-c", script)

    def test_starts_a_job_from_a_template(self, installed: Install) -> None:
        installed.run("llmcloud", "init", "tiny-gpt")
        (job,) = installed.folder.rglob("job.yaml")
        installed.run("llmcloud", "validate", job)

    def test_runs_a_job(self, installed: Install) -> None:
        code = installed.folder / "hello"
        code.mkdir()
        (code / "job.yaml").write_text("name: hello\nprovider: local\nrun: echo it runs\n")
        assert "it runs" in installed.run("llmcloud", "submit", code / "job.yaml")
        assert "hello" in installed.run("llmcloud", "list")


def test_an_editable_install_sees_new_files(
    source: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """…in each folder, and changed ones, without installing again."""
    copy = tmp_path_factory.mktemp("editable") / "llmcloud"
    shutil.copytree(source, copy, symlinks=True)
    install = Install.make(copy.parent)
    install.pip_install("--no-deps", "-e", copy)
    for folder in FOLDERS:
        (copy / folder / "brand_new.py").write_text("NEWS = 'seen'\n")
        script = f"from llmcloud.{folder}.brand_new import NEWS; print(NEWS)"
        assert install.run("python", "-c", script) == "seen\n"
    (copy / "runtime" / "brand_new.py").write_text("NEWS = 'changed, and longer'\n")
    script = "from llmcloud.runtime.brand_new import NEWS; print(NEWS)"
    assert install.run("python", "-c", script) == "changed, and longer\n"
