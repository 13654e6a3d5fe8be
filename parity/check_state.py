"""Row 35, by hand: transformers loads a trainer_state.json that we wrote.

usage: python parity/check_state.py out/run/checkpoint-50
"""

import sys
from pathlib import Path

from transformers import TrainerState

state = TrainerState.load_from_json(str(Path(sys.argv[1], "trainer_state.json")))
assert state.global_step > 0 and state.log_history, "empty"
assert all({"step", "epoch"} <= set(row) for row in state.log_history)
print(f"step {state.global_step} of {state.max_steps}, {len(state.log_history)} rows, best {state.best_metric}")
