"""The scripts of docs/scaling.md, run by a shell in the scheduler's place."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from radhard.campaign.shard import shard_name, shards_of, span
from radhard.campaign.store import Folder, folders
from radhard.campaign.union import held_in, merge

PAGE = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
(ARRAY,) = re.findall(r"```bash\n(#!.*?)```", PAGE, re.DOTALL)
(JOB,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
POD = textwrap.dedent(re.findall(r"- \|\n(.*?)\n {10}\w", JOB, re.DOTALL)[0])
#: What is asked here in place of a billion faults of a long campaign.
FAULTS, SHARDS = 1600, 3
SMALL = "digits-cnn --images 8 --chip software --sampler importance"


def test_the_tasks_have_all_shards_between_them() -> None:
    (last,) = map(int, re.findall(r"--array=0-(\d+)", ARRAY))
    (pods,) = map(int, re.findall(r"completions: (\d+)", JOB))
    assert pods == last + 1
    for script, index in ((ARRAY, "SLURM_ARRAY_TASK_ID"), (POD, "JOB_COMPLETION_INDEX")):
        (each, more), (faults,) = (
            re.findall(rf"{index} \* (\d+)\)\); TO=\$\(\(FROM \+ (\d+)", script)[0],
            map(int, re.findall(r"--faults (\d+)", script)),
        )
        assert each == more
        assert span(last * int(each))[0] < faults == 10**9 <= span((last + 1) * int(each))[0]


def run(script: str, folder: Path, index: str, number: int) -> None:
    """A task, of a small campaign."""
    script = script.replace("resnet20 --data cifar10 --weights w.th", SMALL)
    script = script.replace("1000000000", str(FAULTS)).replace("1000", str(SHARDS))
    tools = folder / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "radhard").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from radhard.cli import main; main()" "$@"\n'
    )
    (tools / "radhard").chmod(0o755)
    around = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", index: str(number)}
    subprocess.run(["bash", "-c", script], cwd=folder, env=around, check=True, timeout=300)


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such shell")
def test_both_scripts_run_and_their_parts_are_the_campaign(tmp_path: Path) -> None:
    slurm, pods = tmp_path / "slurm", tmp_path / "pods"
    for number in range(2):
        run(ARRAY, slurm, "SLURM_ARRAY_TASK_ID", number)
    run(POD, pods, "JOB_COMPLETION_INDEX", 1)
    (united,) = merge([slurm / "parts" / "0", slurm / "parts" / "1"], tmp_path / "all")
    assert united.faults == dict(shards_of(FAULTS))
    assert not united.missing
    assert "400 of 400" in (slurm / "parts" / "0.log").read_text()
    (own,) = held_in(pods / "parts" / "1")
    assert list(own.faults) == [3, 4]
    for shard in own.faults:
        kept = [
            _rows(folders(store)[0], shard)
            for store in (pods / "parts" / "1", slurm / "parts" / "1")
        ]
        assert all(np.array_equal(*pair) for pair in zip(*kept, strict=True))


def _rows(folder: Folder, shard: int) -> list[np.ndarray]:
    kept = folder.kept(shard_name(shard))
    assert kept is not None
    faults, columns, _ = kept
    return [faults.id, faults.index, faults.image, faults.weight, *columns.values()]
