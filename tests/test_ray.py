"""The program of the page on prediction for Ray Data, run as it stands there. Skipped where Ray is not installed."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import ENVIRONMENT, ROOT, script
from engine.predictor import Predict

pytest.importorskip("ray")
TEXTS = ["央行下调存款准备金率", "北京二手房价格上涨", "A股三大股指收涨 券商股领跑" * 4] * 5


@pytest.mark.parametrize("readme", ["docs/prediction.md", "docs/prediction.en.md"])
def test_ray_data_gives_what_predict_gives(tiny, tmp_path, readme):
    script("run.py", "--model", "TextCNN", "--dataset", tiny, "--num_epochs", 1, "--embed", 16, "--device", "cpu")
    shutil.copytree(tiny, tmp_path / "THUCNews")
    (tmp_path / "news.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    blocks = re.findall("```python\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL)
    (program,) = [block for block in blocks if "map_batches" in block]
    (tmp_path / "job.py").write_text(program, encoding="utf-8")
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr
    files = [tmp_path / "labelled" / name for name in os.listdir(tmp_path / "labelled")]
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    expected = zip(TEXTS, Predict("TextCNN", dataset=tiny, device="cpu").predict_list(TEXTS), strict=True)
    assert sorted((row["text"], row["label"]) for row in rows) == sorted(expected)
