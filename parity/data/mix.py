"""Orders of datasets.interleave_datasets in turn, and sizes of TRL's mixtures by fraction.

    python parity/data/mix.py
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import datasets
import trl
from datasets import Dataset, interleave_datasets
from trl import DatasetMixtureConfig, get_dataset
from trl.scripts.utils import DatasetConfig

OUT = Path(__file__).parents[2] / "packages/data/test/fixtures/mix.json"


def sources(sizes):
    return [
        Dataset.from_list([{"id": f"{'abcdef'[s]}{i}"} for i in range(size)])
        for s, size in enumerate(sizes)
    ]


interleaved = [
    {
        "sizes": sizes,
        "stopping": stopping,
        "ids": interleave_datasets(sources(sizes), stopping_strategy=stopping)["id"][:],
    }
    for sizes in ([3, 4, 5], [3, 4, 3], [1, 6], [2, 2], [5, 1, 3, 2])
    for stopping in ("first_exhausted", "all_exhausted", "all_exhausted_without_replacement")
]

fractions = []
with tempfile.TemporaryDirectory() as folder:
    for sizes, weights in (
        ([10, 30], [0.5, 0.5]),
        ([10, 30, 7], [2, 1, 1]),
        ([100, 40], [0.92, 0.08]),
        ([3, 7], [1, 3]),
        ([5, 5, 5], [0.1, 0.2, 0.7]),
        ([9, 5], [1, 0]),
    ):
        paths = []
        for s, size in enumerate(sizes):
            path = Path(folder) / f"{len(fractions)}-{s}.jsonl"
            path.write_text("".join(f'{{"id": "{"abcdef"[s]}{i}"}}\n' for i in range(size)))
            paths.append(str(path))
        mixed = get_dataset(
            DatasetMixtureConfig(
                datasets=[
                    DatasetConfig(path="json", data_files=path, fraction=weight)
                    for path, weight in zip(paths, weights)
                ]
            )
        )["train"]
        fractions.append({"sizes": sizes, "weights": weights, "ids": mixed["id"][:]})

OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(
    json.dumps(
        {
            "versions": {"datasets": datasets.__version__, "trl": trl.__version__},
            "interleaved": interleaved,
            "fractions": fractions,
        },
        indent=1,
    )
    + "\n"
)
