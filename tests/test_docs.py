"""Documents that are executed, and tables that are compared with the code."""

import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("name", GENERATOR["PAGES"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == GENERATOR["PAGES"][name](), "run: python docs/generate.py"


def test_the_road_is_that_of_the_imports() -> None:
    road = runpy.run_path(str(ROOT / "docs" / "road.py"))
    held = (ROOT / "docs" / "road.svg").read_text(encoding="utf-8")
    assert held == road["drawn"](), "run: python docs/road.py"
    imports = road["imports"]()
    floor = {room: k for k, row in enumerate(road["floors"]()) for room in row}
    assert all(floor[room] < floor[other] for room in imports for other in imports[room])
    missing = [
        part.stem
        for part in (ROOT / "src" / "radhard").iterdir()
        if (part.is_dir() or part.suffix == ".py")
        and part.stem[0] != "_"
        and part.stem not in floor
    ]
    assert sorted(missing) == ["folders", "toml", "version"]  # which any room may ask


def test_contributing_has_the_rooms_of_the_contract() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", text, re.MULTILINE)
    told: dict[int, set[str]] = {}
    for floor, rooms in rows:
        told.setdefault(int(floor), set()).update(re.findall(r"`(\w+)`", rooms))
    floors = runpy.run_path(str(ROOT / "docs" / "road.py"))["floors"]()
    assert told == {k: set(rooms) for k, rooms in enumerate(reversed(floors), 1)}


def test_the_readme_s_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    names = {"model": model, "images": torch.rand(4, 1, 4, 4), "labels": torch.tensor([0, 1, 2, 0])}
    exec(code, names)
    assert (tmp_path / "runs" / "first" / "report.html").exists()


def test_lines_on_permanent_faults_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import radhard as rh

    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "permanent-faults.md").read_text()
    code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8))
    names = {"work": rh.capture(model, torch.rand(40, 1, 4, 4), torch.arange(40) % 8, rh.INT8)}
    exec(code, names)
    assert names["better"].computing == names["chip"].computing


def test_lines_on_products_run(capsys) -> None:
    text = (ROOT / "docs" / "products.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    torch.manual_seed(0)
    exec(code, {})
    assert capsys.readouterr().out == "2 False True\n"


def test_lines_on_quantisation_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    import radhard as rh

    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "quantisation.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 5)
    )
    images, labels = torch.rand(60, 1, 4, 4), torch.arange(60) % 5
    names = {
        "work": rh.capture(model, images[:10], labels[:10]),
        "training_images": images[10:],
        "training_labels": labels[10:],
    }
    exec(code, names)
    assert capsys.readouterr().out.startswith("w4-8a6-8 w3a4 ")
    assert (tmp_path / "network.pt2").exists()


def test_lines_on_arrays_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "rtl.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert (names["golden"] == names["operands"].a @ names["operands"].w).all()
    assert names["wrong"].tolist() == [1, 15]
    assert 70 < len(Path("systolic.sv").read_text().splitlines()) < 110


@pytest.mark.parametrize("name", ["multipliers.md", "your-own.md"])
def test_lines_on_multipliers_run(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)
    code = code[0] if name == "multipliers.md" else code[-1]
    names: dict[str, object] = {}
    exec(code, names)
    if name == "your-own.md":
        assert capsys.readouterr().out == "2032.25 True\n"
    else:
        assert names["coarse"].product(-3, 5) == -16


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    told = "MAE" if path.stem == "own_multiplier" else "SDC-1"  # it strikes nothing
    assert told in capsys.readouterr().out


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_toml_in_the_campaign_page_is_valid() -> None:
    import tomllib

    from radhard.campaign.ask import Ask

    (text,) = re.findall(
        r"```toml\n(.*?)```", (ROOT / "docs" / "campaign-file.md").read_text(), re.DOTALL
    )
    asked = tomllib.loads(text)
    of_stores = {"fingerprint", "tensors"}
    assert set(asked) == set(Ask.model_fields) - {"until"} - of_stores
    Ask(**asked)


def test_the_toml_in_the_chip_page_is_two_chips(tmp_path: Path) -> None:
    from radhard.accel.chips import Chip, Published, read_chip

    page = (ROOT / "docs" / "chip-file.md").read_text()
    found = []
    for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL):
        (tmp_path / "own.toml").write_text(text)
        found.append(read_chip(tmp_path / "own.toml"))
    assert [type(chip) for chip in found] == [Chip, Published]
