"""Prints what TensorBoard shows of a folder: tag, step and value or text. Needs tensorboard.

    python tests/train/read_board.py FOLDER
"""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

board = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
board.Reload()
for tag in board.Tags()["scalars"]:
    for event in board.Scalars(tag):
        print(tag, event.step, event.value)
for tag in board.Tags()["tensors"]:
    for event in board.Tensors(tag):
        print(tag, event.step, event.tensor_proto.string_val[0].decode())
