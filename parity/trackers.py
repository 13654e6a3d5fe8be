"""Writes parity/fixtures/row305-trackers.json: files of TensorBoard's and W&B's own clients, byte for byte.

Needs an environment of its own: pip install tensorboard==2.21.0 wandb==0.31.0. Sends nothing.
"""

import base64
import glob
import gzip
import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import wandb
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

FIXTURES = Path(__file__).resolve().parent / "fixtures"
WALL_TIME = 1795649638.25


def event_file(path):
    """A file's version, two scalars of one step, a text, and the mark of a resumed run."""
    scalars = summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(tag="train/loss", simple_value=1.25),
            summary_pb2.Summary.Value(tag="train/grad_norm", simple_value=float("nan")),
        ]
    )
    text = tensor_pb2.TensorProto(
        dtype=7,
        tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)]),
        string_val=["lr: 1e-4, μ".encode()],
    )
    plugin = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text"))
    texts = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="args/text_summary", metadata=plugin, tensor=text)])
    events = [
        event_pb2.Event(wall_time=WALL_TIME, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=WALL_TIME, step=301, summary=scalars),
        event_pb2.Event(wall_time=WALL_TIME, summary=texts),
        event_pb2.Event(wall_time=WALL_TIME, step=8, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)),
    ]
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        writer.flush()
    return Path(path).read_bytes()


def offline_run(folder):
    """A run of the real client in offline mode; its config crosses a block of 32 KiB."""
    os.chdir(folder)
    settings = wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, save_code=False, silent=True)
    config = {"learning_rate": 1e-4, "notes": "x" * 40_000}
    run = wandb.init(project="huggingface", name="run one", mode="offline", config=config, settings=settings)
    wandb.define_metric("train/global_step")
    wandb.define_metric("*", step_metric="train/global_step", step_sync=True)
    wandb.log({"train/loss": 1.5, "train/global_step": 1})
    wandb.log({"train/loss": float("nan"), "train/global_step": 2})
    run.summary["train_loss"] = 0.75
    run.finish()
    wandb.teardown()  # the file is whole when the service has gone
    return Path(glob.glob("wandb/offline-run-*/*.wandb")[0]).read_bytes()


with tempfile.TemporaryDirectory() as folder:
    out = {
        "row": 305,
        "versions": {name: version(name) for name in ["tensorboard", "wandb"]},
        "tensorboard": {"wallTime": WALL_TIME, "file": base64.b64encode(event_file(f"{folder}/events")).decode()},
        "wandb": {"gzip": base64.b64encode(gzip.compress(offline_run(folder), mtime=0)).decode()},
    }
(FIXTURES / "row305-trackers.json").write_text(json.dumps(out, indent=1) + "\n")
