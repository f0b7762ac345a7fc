"""One version, files that a release needs, and pages that lead somewhere."""

import configparser
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import mtl_jax

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def test_there_is_one_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == "attr: mtl_jax.__version__"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == mtl_jax.__version__
    assert f"## {mtl_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_files_of_the_page_are_in_the_wheel():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["mtl_jax.demo"].split()
    demo = ROOT / "mtl_jax" / "demo"
    packed = {path for pattern in patterns for path in demo.glob(pattern)}
    there = {path for folder in ("page", "examples") for path in (demo / folder).iterdir()}
    assert packed == there != set()


def test_extras_that_messages_name_exist():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    for path in [*ROOT.glob("mtl_jax/**/*.py"), *DOCS.rglob("*.md"), ROOT / "README.md"]:
        named = re.findall(r"(?:mtl-jax|'\.)\[(\w+)\]", path.read_text())
        assert set(named) <= extras, path


def _nav(entry) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [page for value in values for page in _nav(value)]


def test_every_page_is_in_the_site():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = _nav(yaml.safe_load(text)["nav"])
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    hidden = {page for page in pages if re.fullmatch(r"results/\w+/report\.md", page)}
    assert len(listed) == len(set(listed))
    assert set(listed) == pages - hidden


@pytest.mark.parametrize(
    "path",
    sorted([*DOCS.rglob("*.md"), ROOT / "README.md"]),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_links_lead_to_files(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target = link.partition("#")[0]
        if target and "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), link


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/**/*.yml")), ids=lambda p: p.name)
def test_forms_and_workflows_are_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_dockerfile_copies_what_there_is():
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            *sources, _ = line.split()[1:]
            assert all((ROOT / source).exists() for source in sources), line


def test_nothing_that_is_built_is_committed():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no clone")
    assert not [f for f in done.stdout.split() if f.startswith(("site/", "dist/", "build/"))]
